"""What every artifact on disk shares: digests, atomic files, the manifest, provenance."""

from curate.artifact.digest import digest_bytes, digest_file, digest_folder, digest_json, digest_text
from curate.artifact.files import (
    append_jsonl,
    atomic_file,
    file_lock,
    json_line,
    parse_jsonl,
    read_jsonl,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from curate.artifact.manifest import (
    MANIFEST,
    SCHEMAS,
    cache_dir,
    find_artifact,
    finished,
    home,
    is_made,
    newest_finished,
    read_manifest,
    record_file,
    write_manifest,
)
from curate.artifact.provenance import collect_provenance

__all__ = [
    "MANIFEST",
    "SCHEMAS",
    "append_jsonl",
    "atomic_file",
    "cache_dir",
    "collect_provenance",
    "digest_bytes",
    "digest_file",
    "digest_folder",
    "digest_json",
    "digest_text",
    "file_lock",
    "find_artifact",
    "finished",
    "home",
    "is_made",
    "json_line",
    "newest_finished",
    "parse_jsonl",
    "read_jsonl",
    "read_manifest",
    "record_file",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_manifest",
    "write_text",
]
