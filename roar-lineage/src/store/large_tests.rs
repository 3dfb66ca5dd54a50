use super::tests::{dump, fragment, merged};
use super::*;
use crate::model::FileUse;

#[test]
fn ten_thousand_files_of_equal_content_merge_quickly() {
    let mut big = fragment(1, 1, 1);
    let file = fragment(0, 0, 1).reads[0].clone();
    big.writes = (0..10_000)
        .map(|n| FileUse {
            path: format!("/p/{n}").into(),
            ..file.clone()
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let start = std::time::Instant::now();
    store.merge(&[big.clone()]).unwrap();
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    assert_eq!(store.merge(&[big]).unwrap(), Merged { taken: 0, known: 1 });
}

/// Names of the indexes that were made by name.
fn indexes(store: &Store) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1";
    let mut statement = store.connection.prepare(sql).unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_large_merge_leaves_every_index_and_the_same_store_as_small_ones() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let before = indexes(&store);
    assert!(before.contains(&"use_writer".to_owned()));
    let file = fragment(1, 1, 1).reads[0].clone();
    let large = |revision: u64| {
        let mut large = fragment(1, 1, revision);
        large.writes = (0..6_000)
            .map(|n| FileUse {
                path: format!("/p/{}", n * revision).into(),
                digest: Some(crate::digest::Digest::of(&(n * revision).to_le_bytes())),
                ..file.clone()
            })
            .collect();
        large
    };
    store
        .merge(&[large(1), fragment(0, 1, 1), large(2)])
        .unwrap();
    assert_eq!(indexes(&store), before);
    let check = "SELECT integrity_check FROM pragma_integrity_check";
    let damage = store.connection.query_row(check, [], |row| row.get(0));
    assert_eq!(damage, Ok("ok".to_owned()));
    assert!(dump(&store) == merged(&[vec![large(2)], vec![fragment(0, 1, 1)], vec![large(1)]]));
}
