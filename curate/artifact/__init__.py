"""What every artifact on disk shares: digests, atomic files, the manifest, provenance."""

from curate.artifact.digest import digest_bytes, digest_file, digest_folder, digest_json, digest_text
from curate.artifact.files import (
    append_jsonl,
    atomic_file,
    json_line,
    parse_jsonl,
    read_jsonl,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)
from curate.artifact.locks import file_lock, one_writer
from curate.artifact.manifest import (
    MANIFEST,
    SCHEMAS,
    artifact_kind,
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
from curate.artifact.outputs import Damage, damaged_files, read_output, require_whole
from curate.artifact.provenance import collect_provenance
from curate.artifact.record import Lifts, Record, RecordPart

__all__ = [
    "MANIFEST",
    "SCHEMAS",
    "Damage",
    "Lifts",
    "Record",
    "RecordPart",
    "append_jsonl",
    "artifact_kind",
    "atomic_file",
    "cache_dir",
    "collect_provenance",
    "damaged_files",
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
    "one_writer",
    "parse_jsonl",
    "read_jsonl",
    "read_manifest",
    "read_output",
    "record_file",
    "require_whole",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_manifest",
    "write_text",
]
