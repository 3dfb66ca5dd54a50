//! Libraries that write files in ways of their own.

use roar_tests::Project;

#[test]
fn numpy_arrays() {
    let project = Project::new();
    let report = project.python("import numpy as n; n.save('a.npy', n.arange(9))");
    report.assert(&[], &["a.npy open"], &[]);
    let packages = report.document["tasks"][0]["packages"].as_array().unwrap();
    assert!(packages.iter().any(|package| package["name"] == "numpy"));
    let program = "
import numpy as n
a = n.load('a.npy')
m = n.load('a.npy', mmap_mode='r')
n.savez('b.npz', a=a, m=m)";
    let report = project.python(program);
    report.assert(&["a.npy open"], &["b.npz open"], &[]);
}

#[test]
fn a_writable_memory_map_is_both() {
    let project = Project::new();
    project.write("m", [0; 4096]);
    let program = "
import numpy as n
m = n.memmap('m', dtype='u1', mode='r+')
m[5] = 1
m.flush()";
    let report = project.python(program);
    assert_eq!(report.files("reads").len(), 1);
    assert_eq!(report.writes(), ["m modify"]);
}

#[test]
fn parquet_by_pyarrow() {
    let project = Project::new();
    let program = "
import pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({'x': [1, 2, 3]}), 'a.parquet')";
    project
        .python(program)
        .assert(&[], &["a.parquet open"], &[]);
    let program = "
import pyarrow.parquet as pq
t = pq.read_table('a.parquet')
pq.write_table(t.slice(1), 'b.parquet')";
    let report = project.python(program);
    report.assert(&["a.parquet open"], &["b.parquet open"], &[]);
}

#[test]
fn sqlite_changes_its_file_in_place() {
    let project = Project::new();
    let program = "
import sqlite3
c = sqlite3.connect('a.db')
c.execute('create table t (x)')
c.execute('insert into t values (1)')
c.commit()";
    let report = project.python(program);
    report.assert(&[], &["a.db open"], &[]);
    assert!(report.ephemeral() >= 1, "the journal");
    let query = "
import sqlite3
print(sqlite3.connect('a.db').execute('select * from t').fetchall())";
    let report = project.python(query);
    assert_eq!(report.files("reads").len(), 1);
    assert!(report.writes().is_empty(), "{:?}", report.writes());
    let report = project.python(&program.replace("c.execute('create table t (x)')", ""));
    assert_eq!(report.files("reads").len(), 1);
    assert_eq!(report.writes(), ["a.db modify"]);
}

#[test]
fn a_module_of_the_project_is_code_though_only_its_cache_is_opened() {
    let project = Project::new();
    project.write("helper.py", "X = 1\n");
    project.write("main.py", "import helper\n");
    let python = roar_tests::python();
    let run = || {
        let traced = project.trace_as("trace", &[], &[&python, "main.py"], |roar| {
            roar.env_remove("PYTHONDONTWRITEBYTECODE");
        });
        assert!(traced.output.status.success());
        traced.report
    };
    let first = run();
    assert_eq!(
        first.reads(),
        ["helper.py open [code]", "main.py open [code]"]
    );
    let second = run();
    let helper = second.file("reads", "helper.py");
    assert_eq!(helper["category"], "code");
    assert_eq!(helper["inferred"], true);
    assert_eq!(helper["how"][0], "import");
    assert_eq!(second.reads().len(), 2);
    assert!(second.writes().is_empty());
}
