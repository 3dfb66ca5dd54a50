use roar_lineage::model::*;
use roar_worker::{launcher::*, scope::*};
fn main() {
    let command: Vec<_> = std::env::args_os().skip(1).collect();
    let wait = std::env::var_os("TREE").is_some();
    let cwd = std::env::current_dir().unwrap();
    let root: bstr::BString = cwd.to_str().unwrap().into();
    let job = Job { id: "j".into(), command: vec![], cwd: root.clone(), root, started_at: 0, ended_at: None, exit_code: None, signal: None,
        tracer: Tracer { version: "0".into(), backend: "notify".into(), accel: false, kernel: "".into() }, git: None };
    let task = Task { id: "t".into(), parent: None, kind: TaskKind::Command, name: "x".into(), status: Status::Running, status_detail: None, exit_code: None, signal: None, started_at: 0, ended_at: None, started: 0, ended: None, host: "h".into(), boot: "b".into(), pid: None, ray: None };
    let spec = Spec { observer: "o".into(), job, task, hashing: Hashing { enabled: true, limit: None } };
    let t = std::time::Instant::now();
    match run(Launch { command, environment: vec![], spec, wait_for_tree: wait, late: None }) {
        Ok(ran) => {
            eprintln!("wait_status {:#x} in {:?}", ran.wait_status, t.elapsed());
            let all = std::env::var_os("ALL").is_some();
            for f in ran.record.state.fragments(1) {
                for (n, list) in [("read", &f.reads), ("write", &f.writes), ("delete", &f.deletes)] {
                    for u in list.iter().filter(|u| all || u.category.is_shown()) {
                        eprintln!("{n:7}{} {:?} {:?} {:?} via {:?} {:?}{}", u.path, u.state, u.how, u.digest.map(|d| d.hex()[..8].to_string()), u.via, u.category, if u.unchanged {" unchanged"} else {""});
                    }
                }
                eprintln!("ephemeral {} {:?} {:?}", f.ephemeral, f.task.status, f.coverage);
                if all { for p in &f.processes { eprintln!("{p:?}"); } }
            }
        }
        Err(e) => eprintln!("error {e}"),
    }
}
