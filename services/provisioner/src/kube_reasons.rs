//! What does a Pod's own word mean for a person? Whether it is up, what is in its way, why it ended.

use events::env::Phase;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodCondition,
};

use crate::compute::{Progress, Seen, Weight};
use crate::notices::RESTARTED;

/// Waits that say no more than that it waits.
const JUST_WAITS: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];
/// Exit codes above it are signals.
const SIGNAL_BASE: i32 = 128;
const SIGKILL: i32 = 9;

/// How many Pods its keeper shall have: one or none.
pub fn pods_wanted(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// What is seen of an environment. A Pod that has no keeper any more does not count.
pub fn seen(set: Option<&StatefulSet>, pod: Option<&Pod>) -> Seen {
    let Some(set) = set else { return Seen::Missing };
    match pod {
        Some(pod) if is_up(pod) => Seen::Up,
        Some(_) | None if pods_wanted(set) == 0 => {
            let message = "it was told to have no Pod".to_owned();
            Seen::ComingUp(Some(troubled(Phase::Start, "scaled_down", message)))
        }
        Some(pod) => Seen::ComingUp(trouble(pod)),
        None => Seen::ComingUp(None),
    }
}

/// The container runs, its startup probe has passed, and its node answers.
pub fn is_up(pod: &Pod) -> bool {
    let started = container(pod).is_some_and(|status| {
        let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
        runs && status.started == Some(true)
    });
    started && !is_node_lost(pod)
}

/// It is up, and the kubelet has said that it is ready. Only then the cluster takes that back when the
/// node falls silent, so a loss is noticed from here on. Up is enough to go on being told as running.
pub fn is_ready(pod: &Pod) -> bool {
    is_up(pod) && condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// The kubelet says both or neither; only the cluster, when a node is silent, takes back the one.
pub fn is_node_lost(pod: &Pod) -> bool {
    let is = |kind: &str, value: &str| condition(pod, kind).is_some_and(|found| found.status == value);
    is("Ready", "False") && is("ContainersReady", "True")
}

/// How often the kubelet started the container again.
pub fn restarts(pod: &Pod) -> i32 {
    container(pod).map_or(0, |status| status.restart_count)
}

/// The Pod has ended for good; another takes its place.
pub fn has_failed(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// What is in its way now.
pub fn trouble(pod: &Pod) -> Option<Progress> {
    if has_failed(pod) {
        return Some(troubled(Phase::Run, "evicted", farewell(pod)));
    }
    if is_node_lost(pod) {
        return Some(troubled(Phase::Run, "node_lost", node_lost(pod)));
    }
    if let Some(unscheduled) = condition(pod, "PodScheduled").filter(|found| found.status == "False") {
        return Some(unschedulable(unscheduled));
    }
    let status = container(pod)?;
    let state = status.state.as_ref();
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref())
        && let Some(progress) = waits(status, waiting)
    {
        return Some(progress);
    }
    let ended = state.and_then(|state| state.terminated.as_ref());
    let ended = ended.or_else(|| status.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let up = is_up(pod);
    ended.filter(|_| !up).map(|ended| again(status, ended))
}

/// Steps that are done.
pub fn steps(pod: &Pod) -> Vec<Progress> {
    let mut done = Vec::new();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if let Some(node) = node {
        done.push(step(Phase::Schedule, "scheduled", format!("it was given a place on the node {node}")));
    }
    let runs =
        container(pod).and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some());
    if runs {
        done.push(step(Phase::Start, "started", "its container was started".to_owned()));
    }
    done
}

/// Why a Pod that is gone, or is about to be, is gone.
pub fn farewell(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let said = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    let deleted = pod.metadata.deletion_timestamp.is_some();
    if has_failed(pod) && !deleted {
        let reason = status.and_then(|status| said(status.reason.as_ref()));
        let message = status.and_then(|status| said(status.message.as_ref()));
        let ended =
            container(pod).and_then(|status| Some(ending(status.state.as_ref()?.terminated.as_ref()?)));
        let why = message.or(ended).unwrap_or_else(|| "nobody says why".to_owned());
        return match reason.as_deref() {
            Some("Evicted") => format!("it was evicted from its node: {why}"),
            Some(reason) => format!("its Pod ended ({reason}): {why}"),
            None => format!("its Pod ended: {why}"),
        };
    }
    if let Some(disruption) = condition(pod, "DisruptionTarget").filter(|found| found.status == "True") {
        let why = said(disruption.message.as_ref()).unwrap_or_default();
        return match disruption.reason.as_deref() {
            Some("PreemptionByScheduler") => format!("it had to make room for a more important Pod: {why}"),
            Some("DeletionByTaintManager") => format!("{}, so it was taken off it: {why}", node_lost(pod)),
            Some("EvictionByEvictionAPI") => format!("it was evicted from its node on request: {why}"),
            Some("TerminationByKubelet") => format!("it was evicted from its node: {why}"),
            Some(_) | None => format!("its Pod was taken away: {why}"),
        };
    }
    if is_node_lost(pod) { node_lost(pod) } else { "its Pod was deleted".to_owned() }
}

/// Why its container was started again.
pub fn restart(pod: &Pod) -> String {
    let last = container(pod).and_then(|status| status.last_state.as_ref()?.terminated.as_ref());
    let now = container(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
    last.or(now).map_or_else(|| "its container was started again".to_owned(), ending)
}

fn waits(status: &ContainerStatus, waiting: &ContainerStateWaiting) -> Option<Progress> {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or_default();
    match reason {
        reason if JUST_WAITS.contains(&reason) => None,
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(troubled(Phase::Image, "image_pull_failed", pull_failed(message)))
        }
        "InvalidImageName" => Some(Progress {
            weight: Weight::Final,
            ..troubled(
                Phase::Image,
                "image_invalid",
                format!("the image reference cannot be read: {message}"),
            )
        }),
        // the message counts seconds down; what ended it is in its last state
        "CrashLoopBackOff" => {
            let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            ended.map(|ended| again(status, ended))
        }
        reason => {
            let text = format!("its container cannot be started ({reason}): {message}");
            Some(troubled(Phase::Start, "container_failed", text))
        }
    }
}

/// While it waits for the next try the kubelet repeats what went wrong, behind its own words.
fn pull_failed(message: &str) -> String {
    let words = message.split_once("ErrImagePull: ").map_or(message, |(_, words)| words);
    format!("its image cannot be pulled: {words}")
}

fn unschedulable(condition: &PodCondition) -> Progress {
    let words = condition.message.as_deref().unwrap_or_default();
    if words.to_ascii_lowercase().contains("persistentvolumeclaim") {
        return troubled(Phase::Volume, "volume_pending", format!("it waits for its volumes: {words}"));
    }
    troubled(Phase::Schedule, "unschedulable", format!("no node can take it: {words}"))
}

fn again(status: &ContainerStatus, ended: &ContainerStateTerminated) -> Progress {
    // the restart after this end, also while it is still waited for
    let number =
        status.restart_count + i32::from(status.state.as_ref().is_some_and(|state| state.running.is_none()));
    let text = format!("{}; start number {}", ending(ended), number + 1);
    troubled(Phase::Ready, RESTARTED, text)
}

fn ending(ended: &ContainerStateTerminated) -> String {
    let code = ended.exit_code;
    match ended.reason.as_deref() {
        Some("OOMKilled") if code == SIGNAL_BASE + SIGKILL => {
            format!("its container ran out of memory (exit code {code})")
        }
        // only something inside was ended for it, some time before
        Some("OOMKilled") => {
            format!("its container ended with exit code {code}, after it had run out of memory")
        }
        Some("ContainerStatusUnknown") => "its container was lost with its node".to_owned(),
        Some("StartError" | "ContainerCannotRun") => {
            format!("its container could not be started: {}", ended.message.as_deref().unwrap_or_default())
        }
        Some(_) | None if code == SIGNAL_BASE + SIGKILL => {
            format!("its container was killed (exit code {code})")
        }
        Some(_) | None => format!("its container ended with exit code {code}"),
    }
}

fn node_lost(pod: &Pod) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("its node");
    format!("its node {node} does not answer")
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn condition<'p>(pod: &'p Pod, kind: &str) -> Option<&'p PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

pub fn step(phase: Phase, code: &'static str, message: String) -> Progress {
    Progress { phase, code, message, weight: Weight::Step }
}

pub fn troubled(phase: Phase, code: &'static str, message: String) -> Progress {
    Progress { phase, code, message, weight: Weight::Trouble }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "env-abcdefghijkl-0", "namespace": "envs", "uid": "u"},
            "spec": {"nodeName": "node1", "containers": []},
            "status": status,
        }))
        .unwrap()
    }

    fn container(restarts: i32, started: bool, state: Value, last: Value) -> Value {
        json!({"containerStatuses": [{"name": "env", "image": "i", "imageID": "", "ready": started,
            "started": started, "restartCount": restarts, "state": state, "lastState": last}]})
    }

    fn with(mut status: Value, conditions: Value) -> Value {
        status["conditions"] = conditions;
        status
    }

    fn running() -> Value {
        json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}})
    }

    fn ended(reason: &str, code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-01-02T03:04:05Z"}})
    }

    #[test]
    fn it_is_up_when_its_startup_probe_has_passed() {
        assert!(!is_up(&pod(json!({"phase": "Pending"}))));
        assert!(!is_up(&pod(container(0, false, running(), json!({})))));
        let up = pod(container(0, true, running(), json!({})));
        assert!(is_up(&up));
        assert_eq!(trouble(&up), None);
        let steps: Vec<_> = steps(&up).into_iter().map(|step| step.code).collect();
        assert_eq!(steps, ["scheduled", "started"]);
    }

    #[test]
    fn it_is_ready_when_its_kubelet_has_said_so_and_then_its_silence_is_noticed() {
        let with_ready = |ready: &str, containers: &str| {
            let conditions = json!([{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": containers}]);
            pod(with(container(0, true, running(), json!({})), conditions))
        };
        assert!(!is_ready(&pod(container(0, true, running(), json!({})))), "nobody says that it is ready");
        assert!(!is_ready(&with_ready("False", "False")));
        assert!(is_ready(&with_ready("True", "True")));
        assert!(!is_ready(&with_ready("False", "True")));
    }

    #[test]
    fn it_is_coming_up_while_its_keeper_wants_a_pod() {
        let keeper = |pods: i32| -> StatefulSet {
            serde_json::from_value(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {},
                "spec": {"replicas": pods, "selector": {}, "serviceName": "", "template": {}}}))
            .unwrap()
        };
        let up = pod(container(0, true, running(), json!({})));
        let coming = pod(container(0, false, running(), json!({})));
        assert_eq!(seen(None, Some(&up)), Seen::Missing, "nobody brings it back");
        assert_eq!(seen(Some(&keeper(1)), Some(&up)), Seen::Up);
        assert_eq!(seen(Some(&keeper(0)), Some(&up)), Seen::Up, "it still runs");
        assert_eq!(seen(Some(&keeper(1)), Some(&coming)), Seen::ComingUp(None));
        assert_eq!(seen(Some(&keeper(1)), None), Seen::ComingUp(None));
        let Seen::ComingUp(Some(down)) = seen(Some(&keeper(0)), None) else { panic!("it is not down") };
        assert_eq!(down.code, "scaled_down");
    }

    #[test]
    fn a_probe_that_is_late_is_not_a_node_that_is_silent() {
        let conditions = |ready: &str, containers: &str| json!([{"type": "Ready", "status": ready}, {"type": "ContainersReady", "status": containers}]);
        let late = pod(with(container(0, true, running(), json!({})), conditions("False", "False")));
        assert!(is_up(&late));
        let silent = pod(with(container(0, true, running(), json!({})), conditions("False", "True")));
        assert!(!is_up(&silent));
        let progress = trouble(&silent).unwrap();
        assert_eq!(
            (progress.code, progress.message.as_str()),
            ("node_lost", "its node node1 does not answer")
        );
    }

    #[test]
    fn the_scheduler_says_why_there_is_no_place() {
        let waiting = |message: &str| {
            pod(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": message}]}))
        };
        let progress = trouble(&waiting("0/1 nodes are available: 1 Insufficient cpu.")).unwrap();
        assert_eq!(progress.phase, Phase::Schedule);
        assert_eq!(progress.message, "no node can take it: 0/1 nodes are available: 1 Insufficient cpu.");
        let unbound = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
        assert_eq!(trouble(&waiting(unbound)).unwrap().code, "volume_pending");
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_once_in_the_same_words() {
        let waiting = |reason: &str, message: &str| {
            let state = json!({"waiting": {"reason": reason, "message": message}});
            trouble(&pod(container(0, false, state, json!({}))))
        };
        let first = waiting("ErrImagePull", "failed to pull: not found").unwrap();
        let later = waiting(
            "ImagePullBackOff",
            "Back-off pulling image \"x\": ErrImagePull: failed to pull: not found",
        );
        assert_eq!(Some(&first), later.as_ref());
        assert_eq!((first.code, first.weight), ("image_pull_failed", Weight::Trouble));
        let wrong = waiting("InvalidImageName", "couldn't parse image reference").unwrap();
        assert_eq!(wrong.weight, Weight::Final);
        assert_eq!(waiting("ContainerCreating", ""), None);
        assert_eq!(
            waiting("CreateContainerConfigError", "secret \"x\" not found").unwrap().code,
            "container_failed"
        );
    }

    #[test]
    fn an_end_is_told_once_however_far_its_next_start_is() {
        let seen = [
            container(0, false, ended("OOMKilled", 137), json!({})),
            container(
                0,
                false,
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
                ended("OOMKilled", 137),
            ),
            container(1, false, running(), ended("OOMKilled", 137)),
        ];
        let told: Vec<_> = seen.into_iter().map(|status| trouble(&pod(status)).unwrap()).collect();
        assert_eq!(told[0].message, "its container ran out of memory (exit code 137); start number 2");
        assert!(told.iter().all(|progress| *progress == told[0]), "{told:#?}");
        let next = trouble(&pod(container(1, false, ended("Error", 7), json!({})))).unwrap();
        assert_eq!(next.message, "its container ended with exit code 7; start number 3");
        let up = pod(container(1, true, running(), ended("Error", 137)));
        assert_eq!((trouble(&up), restarts(&up)), (None, 1));
        assert_eq!(restart(&up), "its container was killed (exit code 137)");
    }

    #[test]
    fn who_is_gone_leaves_a_reason() {
        let evicted = pod(json!({"phase": "Failed", "reason": "Evicted",
            "message": "The node was low on resource: memory."}));
        assert_eq!(farewell(&evicted), "it was evicted from its node: The node was low on resource: memory.");
        assert_eq!(trouble(&evicted).unwrap().code, "evicted");
        let disrupted = |reason: &str| {
            let conditions =
                json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]);
            farewell(&pod(with(container(0, true, running(), json!({})), conditions)))
        };
        assert_eq!(disrupted("EvictionByEvictionAPI"), "it was evicted from its node on request: m");
        let mut deleted = pod(json!({"phase": "Succeeded"}));
        deleted.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-02T03:04:05Z")).unwrap());
        assert_eq!(farewell(&deleted), "its Pod was deleted");
        assert!(disrupted("PreemptionByScheduler").contains("more important"));
        assert!(disrupted("DeletionByTaintManager").starts_with("its node node1 does not answer"));
        assert_eq!(farewell(&pod(container(0, true, running(), json!({})))), "its Pod was deleted");
    }
}
