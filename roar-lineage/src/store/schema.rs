//! The tables, and how an older store becomes one of today.

/// Migrations in order: a store of `user_version` n has had the first n.
pub(super) const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE session (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, started_at INTEGER NOT NULL);
-- What several fragments say of one job, joined: see `join::job`.
CREATE TABLE job (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, session INTEGER NOT NULL REFERENCES session,
    record TEXT NOT NULL);
CREATE INDEX job_session ON job (session);
-- What several observers say of one task, joined: see `join::tasks`.
CREATE TABLE task (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, job INTEGER NOT NULL REFERENCES job,
    record TEXT NOT NULL);
CREATE INDEX task_job ON task (job);
CREATE TABLE fragment (
    n INTEGER PRIMARY KEY, task INTEGER NOT NULL REFERENCES task, observer TEXT NOT NULL,
    revision INTEGER NOT NULL, claim TEXT NOT NULL, ephemeral INTEGER NOT NULL,
    coverage TEXT NOT NULL, UNIQUE (task, observer));
CREATE TABLE location (
    n INTEGER PRIMARY KEY, host TEXT NOT NULL, path BLOB NOT NULL, UNIQUE (path, host));
CREATE TABLE artifact (
    n INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE);
-- `role`: read, write, delete, ephemeral. Unsigned numbers are stored by their bits.
CREATE TABLE use (
    n INTEGER PRIMARY KEY, fragment INTEGER NOT NULL REFERENCES fragment,
    location INTEGER NOT NULL REFERENCES location, role TEXT NOT NULL,
    artifact INTEGER REFERENCES artifact, size INTEGER, state TEXT NOT NULL,
    category TEXT, how TEXT NOT NULL, via BLOB, unchanged INTEGER NOT NULL,
    inferred INTEGER NOT NULL, dev INTEGER, ino INTEGER, version_size INTEGER,
    mtime INTEGER, ctime INTEGER, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX use_fragment ON use (fragment);
CREATE INDEX use_location ON use (location);
CREATE INDEX use_artifact ON use (artifact) WHERE artifact IS NOT NULL;
CREATE TABLE process (
    fragment INTEGER NOT NULL REFERENCES fragment, pid INTEGER NOT NULL, record TEXT NOT NULL);
CREATE INDEX process_fragment ON process (fragment);
CREATE TABLE package (
    fragment INTEGER NOT NULL REFERENCES fragment, name TEXT NOT NULL, version TEXT NOT NULL);
CREATE INDEX package_fragment ON package (fragment);
",
    "
-- Objects of Ray's that a task received, or passed to `receiver`.
CREATE TABLE object (
    fragment INTEGER NOT NULL REFERENCES fragment, session TEXT NOT NULL, id BLOB NOT NULL,
    receiver BLOB, size INTEGER);
CREATE INDEX object_fragment ON object (fragment);
-- Jobs of Ray's whose driver a task is.
CREATE TABLE driven (
    fragment INTEGER NOT NULL REFERENCES fragment, session TEXT NOT NULL, job_id TEXT NOT NULL);
CREATE INDEX driven_fragment ON driven (fragment);
",
    "
-- What an object store says of the version used: an `ObjectInfo`; null for files.
ALTER TABLE use ADD COLUMN object TEXT;
",
    "
-- Who wrote a location, and which tasks are around one task: see `Excerpt`.
CREATE INDEX use_writer ON use (location) WHERE role <> 'read';
CREATE INDEX object_receiver ON object (receiver) WHERE receiver IS NOT NULL;
CREATE INDEX object_maker ON object (substr(id, 2, 23));
CREATE INDEX driven_job ON driven (job_id);
-- Of Ray's tasks: what `neighbours::ids` says.
ALTER TABLE task ADD COLUMN ray_task TEXT;
ALTER TABLE task ADD COLUMN actor TEXT;
UPDATE task SET ray_task = (record ->> '$.ray.session') || '/' || substr(record ->> '$.ray.task_id', 3),
    actor = CASE record ->> '$.kind' WHEN 'ray_actor_init' THEN 'init/' WHEN 'ray_actor_method' THEN 'call/' END
        || (record ->> '$.ray.actor_id');
CREATE INDEX task_ray ON task (ray_task) WHERE ray_task IS NOT NULL;
CREATE INDEX task_actor ON task (actor) WHERE actor IS NOT NULL;
",
];
