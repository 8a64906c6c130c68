"""Reaching anything over a network or a socket outside."""

from .attack import Attack

CONTROL = Attack("connects", "", "import socket\nsocket.create_connection(('127.0.0.1', TCP4)).send(b'x')")


def _net(name: str, program: str, guard: str = "seccomp") -> Attack:
    return Attack(name, guard, program)


ATTACKS = [
    _net("tcp over ipv4", "import socket\nsocket.create_connection(('127.0.0.1', TCP4)).send(b'x')"),
    _net("tcp over ipv6", "import socket\nsocket.create_connection(('::1', TCP6)).send(b'x')"),
    _net(
        "udp over ipv4",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP4))",
    ),
    _net(
        "udp over ipv6", "import socket\nsocket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('::1', UDP4))"
    ),
    _net(
        "a unix socket by its path",
        "import socket\nsocket.socket(socket.AF_UNIX).connect(UNIX)\nleak(MARK)",
        "mount namespace",
    ),
    _net(
        "an abstract unix socket",
        "import socket\nsocket.socket(socket.AF_UNIX).connect(chr(0) + ABSTRACT)\nleak(MARK)",
        "network namespace",
    ),
    _net(
        "an abstract datagram",
        "import socket\nsocket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', chr(0) + ABSTRACT)\nleak(MARK)",
        "network namespace",
    ),
    _net(
        "asking a name server",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.connect(('127.0.0.53', 53))\ns.send(b'x')\nleak(MARK)",
    ),
    _net("urllib", "import urllib.request\nurllib.request.urlopen(f'http://127.0.0.1:{TCP4}/', timeout=2)"),
    _net("http.client", "import http.client\nhttp.client.HTTPConnection('127.0.0.1', TCP4).request('GET', '/')"),
    _net("asyncio", "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', TCP4))"),
    _net("smtplib", "import smtplib\nsmtplib.SMTP('127.0.0.1', TCP4, timeout=2)"),
    _net("ftplib", "import ftplib\nftplib.FTP().connect('127.0.0.1', TCP4, timeout=2)"),
    _net("xmlrpc", "import xmlrpc.client\nxmlrpc.client.ServerProxy(f'http://127.0.0.1:{TCP4}').f()"),
    _net("multiprocessing", "from multiprocessing.connection import Client\nClient(('127.0.0.1', TCP4))"),
    _net(
        "a log handler",
        "import logging.handlers\nlogging.handlers.SocketHandler('127.0.0.1', TCP4).createSocket()\n"
        "import socket\nsocket.socket()",
    ),
    _net("raw packets", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nleak(MARK)"),
    _net("the link layer", "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)\nleak(MARK)"),
    _net("netlink", "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\nleak(MARK)"),
    _net("the hypervisor", "import socket\nsocket.socket(40, socket.SOCK_STREAM)\nleak(MARK)"),
    _net("bluetooth", "import socket\nsocket.socket(31, socket.SOCK_RAW, 1)\nleak(MARK)"),
    _net("the kernel's crypto", "import socket\nsocket.socket(38, socket.SOCK_SEQPACKET)\nleak(MARK)"),
    _net("sctp", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).connect(('127.0.0.1', TCP4))"),
    _net(
        "multipath tcp",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', TCP4))",
    ),
    _net(
        "listening to the world", "import socket\ns = socket.socket()\ns.bind(('0.0.0.0', 0))\ns.listen()\nleak(MARK)"
    ),
    _net(
        "libc socket",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.socket(2, 1, 0) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
    ),
    _net(
        "the other table of system calls",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(0x40000000 + 41, 2, 1, 0) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
    ),
    _net(
        "a ring of requests",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
parameters = ctypes.create_string_buffer(256)
if libc.syscall(425, 8, parameters) < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
leak(MARK)
""",
    ),
    _net(
        "an inherited socket",
        """
import os, socket, stat
for fd in range(3, 256):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        continue
    if stat.S_ISSOCK(mode):
        s = socket.socket(fileno=os.dup(fd))
        if s.family != socket.AF_UNIX or s.getpeername() or s.getsockname():
            leak(MARK)
raise OSError('nothing found')
""",
        "closed descriptors",
    ),
    _net(
        "a child process",
        "import subprocess, sys\nr = subprocess.run([sys.executable, '-S', '-c', f'import socket; "
        'socket.create_connection(("127.0.0.1", {TCP4}))\'], capture_output=True, text=True)\n'
        "raise OSError(r.stderr[-150:])",
    ),
]
