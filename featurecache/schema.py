"""The tables of the index."""

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL CHECK (status IN ('image', 'used', 'skipped', 'failed')),
    reason TEXT,
    detail TEXT,
    warnings TEXT NOT NULL DEFAULT '[]',
    series_uid TEXT,
    content TEXT
);
CREATE INDEX files_by_series ON files (series_uid);
CREATE TABLE frames (
    file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    frame INTEGER NOT NULL,
    series_uid TEXT NOT NULL,
    sop_uid TEXT NOT NULL,
    digest TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    rows INTEGER NOT NULL,
    columns INTEGER NOT NULL,
    position TEXT,
    orientation TEXT,
    row_spacing_mm REAL,
    column_spacing_mm REAL,
    thickness_mm REAL,
    kernel TEXT NOT NULL,
    acquisition TEXT NOT NULL,
    image_type TEXT NOT NULL,
    echo TEXT NOT NULL,
    description TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    instance_number INTEGER,
    may_be_wrapped INTEGER NOT NULL,
    assumed_hu INTEGER NOT NULL,
    stack INTEGER,
    place INTEGER,
    z_mm REAL,
    gap_mm REAL,
    PRIMARY KEY (file, frame)
) WITHOUT ROWID;
CREATE INDEX frames_by_series ON frames (series_uid);
CREATE INDEX frames_by_sop ON frames (sop_uid, frame);
CREATE INDEX frames_by_stack ON frames (stack, place);
CREATE TABLE stacks (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    series_uid TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    usable INTEGER NOT NULL,
    reason TEXT,
    tilt_deg REAL,
    row_spacing_mm REAL,
    column_spacing_mm REAL,
    thickness_mm REAL,
    median_gap_mm REAL,
    z_extent_mm REAL,
    fov_mm REAL,
    wrapped INTEGER NOT NULL,
    assume_hu INTEGER NOT NULL,
    description TEXT NOT NULL,
    kernel TEXT NOT NULL,
    manufacturer TEXT NOT NULL
);
CREATE INDEX stacks_by_series ON stacks (series_uid);
CREATE TABLE findings (stack INTEGER NOT NULL, warning TEXT NOT NULL,
    PRIMARY KEY (stack, warning)) WITHOUT ROWID;
CREATE TABLE dirty (series_uid TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE probes (series_uid TEXT PRIMARY KEY) WITHOUT ROWID;
"""
"""SQL that creates an empty index; raise `index.SCHEMA_VERSION` with every change."""
