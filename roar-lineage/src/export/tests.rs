use super::dvc::from;
use super::openlineage::uuid;

#[test]
fn paths_are_seen_from_a_directory() {
    let seen = |path: &str, directory: &str| from(path.as_bytes(), directory.as_bytes());
    assert_eq!(seen("/p/a", "/p"), "a");
    assert_eq!(seen("/p/a/b", "/p/c/d"), "../../a/b");
    assert_eq!(seen("/p", "/p"), ".");
    assert_eq!(seen("/other/x", "/p"), "/other/x");
    // Before a colon is a scheme.
    assert_eq!(seen("/p/s3:/key", "/p"), "./s3:/key");
    assert_eq!(seen("/p/a/b:c", "/p"), "a/b:c");
    assert_eq!(seen("s3://bucket/key", "/p"), "s3://bucket/key");
}

#[test]
fn an_id_is_a_uuid_of_version_8() {
    let uuid = uuid("5f0c");
    let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
    assert_eq!((&uuid[14..15], &uuid[19..20]), ("8", "8"));
}
