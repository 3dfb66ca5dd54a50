//! Ray's workers in other languages than Python. Which of its tasks such a worker is at is
//! not known, so what it does is one node, for all of its tasks.

use bstr::BString;
use roar_lineage::model::{self, RayIds, Status, Task, TaskKind};

use crate::process_table::Membership;
use crate::supervisor::Supervisor;
use crate::{proc, scope};

/// Set by the raylet.
const JOB_ID: &str = "RAY_JOB_ID";
/// What Java workers run.
const JAVA_CLASS: &[u8] = b"io.ray.runtime.runner.worker.DefaultWorker";
/// Options of C++ workers.
const SOCKET: &[u8] = b"--ray_raylet_socket_name=";
const WORKER_ID: &[u8] = b"--ray_worker_id=";

/// The language of the worker that a command line starts.
fn language(argv: &[BString]) -> Option<&'static str> {
    let (program, options) = argv.split_first()?;
    if program.ends_with(b"/ray/cpp/default_worker") {
        let is_rays = options.iter().any(|word| word.starts_with(SOCKET));
        return is_rays.then_some("C++");
    }
    let is_java = scope::base_name(program) == b"java";
    (is_java && options.iter().any(|word| word == JAVA_CLASS)).then_some("Java")
}

impl Supervisor {
    /// A process that executes a worker of another language does its tasks' work, and no
    /// longer that of the driver whose Ray it is.
    pub(crate) fn become_other_worker(&mut self, pid: u32, argv: &[BString]) {
        let Some(language) = language(argv) else {
            return;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let Some(ray_job) = proc::variable(pid, JOB_ID) else {
            return;
        };
        let worker_id = argv.iter().find_map(|word| word.strip_prefix(WORKER_ID));
        let Some(process) = self.table.get(pid) else {
            return;
        };
        let (key, base) = (process.key, process.membership.clone());
        let (at, stamp) = scope::now();
        let mut membership = Vec::new();
        for (index, outer) in base.iter() {
            let Some(scope) = self.scopes.get_mut(*index) else {
                continue;
            };
            let Some(outer) = scope.recorder.state.task(*outer).cloned() else {
                continue;
            };
            let Some(job) = scope.recorder.state.job().map(|job| job.id.clone()) else {
                continue;
            };
            let identity = format!("worker/{}/{}", key.pid, key.start_ticks);
            let no = scope.add_task(Task {
                id: model::task_id(&job, &identity),
                parent: (outer.kind != TaskKind::Worker).then(|| outer.id.clone()),
                kind: TaskKind::RayTask,
                name: format!("{language} worker").into(),
                status: Status::Unknown,
                status_detail: Some(format!("Ray's {language} tasks are not told apart")),
                started_at: at,
                started: stamp,
                pid: Some(pid),
                ray: Some(RayIds {
                    job_id: text(&ray_job),
                    task_id: None,
                    attempt: 0,
                    actor_id: None,
                    node_id: None,
                    worker_id: worker_id.map(text),
                    func: None,
                    session: None,
                }),
                ..outer
            });
            self.own_tasks.push((pid, *index, no));
            membership.push((*index, no));
        }
        self.join(pid, Membership::from(membership));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_known_by_what_the_raylet_tells_them() {
        let of = |line: &str| {
            let words: Vec<BString> = line.split(' ').map(BString::from).collect();
            language(&words)
        };
        let options = "--ray_plasma_store_socket_name=/p --ray_raylet_socket_name=/r";
        let cpp = format!("/v/ray/cpp/default_worker {options}");
        assert_eq!(of(&cpp), Some("C++"));
        assert_eq!(of("/v/ray/cpp/default_worker --help"), None);
        let java = "java -cp /x io.ray.runtime.runner.worker.DefaultWorker";
        assert_eq!(of(java), Some("Java"));
        assert_eq!(of("java -cp /x Main"), None);
        assert_eq!(of(&format!("python setup_worker.py {cpp}")), None);
    }
}
