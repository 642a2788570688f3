//! What does an event of the cluster mean for an environment's start? What its Pod's status does not say.

use events::env::Phase;
use events::ids::EnvId;
use k8s_openapi::api::core::v1::Event;

use crate::compute::{Progress, Weight};
use crate::kube_reasons::{step, troubled};

/// The steps and ends that the objects themselves tell better. The rest of an hour's events is small.
pub const SELECTOR: &str = "reason!=Scheduled,reason!=Created,reason!=Started,reason!=Killing,\
    reason!=SuccessfulCreate,reason!=SuccessfulDelete";

/// What a claim's event says whose storage class has the binding mode of the same name.
pub const BINDS_WITH_POD: &str = "WaitForFirstConsumer";

/// Refused by the registry so often, an image is taken for missing; the first time may be a mistake.
const PULLS_REFUSED_MAX: i32 = 2;
/// Startup probes fail for a moment at every start; so many failures are a trouble.
const PROBES_FAILED_MIN: i32 = 10;

/// Registries and runtimes that say that there is no such image, in small letters.
const NO_SUCH_IMAGE: [&str; 4] =
    [": not found", "manifest unknown", "name unknown", "repository does not exist"];

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Pod,
    /// A volume, or what keeps the Pod.
    Other,
}

/// A word on an environment, and which object it is about: words on an earlier one come late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    pub env: EnvId,
    pub about: About,
    pub uid: String,
    pub progress: Progress,
}

/// `None` for everything that is not ours, or says nothing that matters.
pub fn word(event: &Event) -> Option<Word> {
    let object = &event.involved_object;
    let name = object.name.as_deref()?;
    let kind = object.kind.as_deref()?;
    let (about, env) = match kind {
        "Pod" => (About::Pod, name.strip_suffix("-0")?),
        "PersistentVolumeClaim" => (About::Other, name.split_once('-')?.1),
        "StatefulSet" => (About::Other, name),
        _ => return None,
    };
    let env = EnvId::parse(env).ok()?;
    let uid = object.uid.clone().unwrap_or_default();
    let progress = progress(kind, event)?;
    Some(Word { env, about, uid, progress })
}

fn progress(kind: &str, event: &Event) -> Option<Progress> {
    let message = event.message.as_deref().unwrap_or_default();
    let warning = event.type_.as_deref() == Some("Warning");
    match (kind, event.reason.as_deref()?) {
        ("Pod", "Pulling") => Some(step(Phase::Image, "pulling", "its image is being pulled".to_owned())),
        ("Pod", "Pulled") => Some(step(Phase::Image, "pulled", "its image is there".to_owned())),
        ("Pod", "Failed") => missing_image(message, times(event)),
        ("Pod", "Unhealthy") if times(event) >= PROBES_FAILED_MIN => {
            let text = format!("its sentry does not open: {message}; does it reach the provisioner?");
            Some(troubled(Phase::Ready, "not_opening", text))
        }
        ("Pod", "FailedMount" | "FailedAttachVolume" | "FailedMapVolume") => Some(troubled(
            Phase::Volume,
            "volume_failed",
            format!("its volumes cannot be mounted: {message}"),
        )),
        ("Pod", "FailedCreatePodSandBox") => {
            Some(troubled(Phase::Start, "container_failed", format!("its Pod cannot be set up: {message}")))
        }
        ("PersistentVolumeClaim", "FailedBinding") => {
            Some(troubled(Phase::Volume, "volume_pending", format!("a volume is not there: {message}")))
        }
        ("PersistentVolumeClaim", _) if warning => {
            Some(troubled(Phase::Volume, "volume_failed", format!("a volume cannot be made: {message}")))
        }
        ("StatefulSet", "FailedCreate") => {
            Some(troubled(Phase::Create, "pod_refused", format!("its Pod is refused: {message}")))
        }
        _ => None,
    }
}

fn missing_image(message: &str, times: i32) -> Option<Progress> {
    if !message.starts_with("Failed to pull image") || times < PULLS_REFUSED_MAX {
        return None;
    }
    let said = message.to_ascii_lowercase();
    NO_SUCH_IMAGE.iter().any(|words| said.contains(words)).then(|| Progress {
        weight: Weight::Final,
        ..troubled(Phase::Image, "image_missing", format!("there is no such image: {message}"))
    })
}

fn times(event: &Event) -> i32 {
    let series = event.series.as_ref().and_then(|series| series.count);
    series.or(event.count).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    const ENV: &str = "env-abcdefghijkl";

    fn event(kind: &str, name: &str, reason: &str, message: &str, count: i32) -> Event {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "envs"},
            "involvedObject": {"kind": kind, "name": name, "uid": "u-1", "namespace": "envs"},
            "reason": reason, "message": message, "count": count, "type": "Warning",
            "source": {"component": "kubelet", "host": "node1"},
        }))
        .unwrap()
    }

    fn said(
        kind: &str,
        name: &str,
        reason: &str,
        message: &str,
        count: i32,
    ) -> Option<(&'static str, Weight)> {
        word(&event(kind, name, reason, message, count))
            .map(|word| (word.progress.code, word.progress.weight))
    }

    #[test]
    fn an_image_is_missing_when_the_registry_says_so_twice() {
        let gone = "Failed to pull image \"localhost:5000/no:1\": rpc error: code = NotFound desc = failed to pull and \
            unpack image \"localhost:5000/no:1\": failed to resolve reference \"localhost:5000/no:1\": \
            localhost:5000/no:1: not found";
        let pod = format!("{ENV}-0");
        assert_eq!(said("Pod", &pod, "Failed", gone, 1), None);
        assert_eq!(said("Pod", &pod, "Failed", gone, 2), Some(("image_missing", Weight::Final)));
        let away = "Failed to pull image \"x\": failed to do request: Head \"https://r/v2/x\": dial tcp: lookup r: no such host";
        assert_eq!(said("Pod", &pod, "Failed", away, 9), None, "it may come back");
        assert_eq!(said("Pod", &pod, "Failed", "Error: ErrImagePull", 9), None);
    }

    #[test]
    fn words_are_about_the_environment_that_the_object_is_of() {
        let of = |kind, name: &str| word(&event(kind, name, "FailedCreate", "no", 1)).map(|word| word.env);
        assert_eq!(of("StatefulSet", ENV), EnvId::parse(ENV).ok());
        assert_eq!(of("StatefulSet", "postgres"), None);
        assert_eq!(of("Deployment", ENV), None);
        let claim =
            word(&event("PersistentVolumeClaim", &format!("code-{ENV}"), "ProvisioningFailed", "full", 1));
        let claim = claim.unwrap();
        assert_eq!((claim.env.as_str(), claim.about, claim.uid.as_str()), (ENV, About::Other, "u-1"));
        assert_eq!(claim.progress.message, "a volume cannot be made: full");
        assert_eq!(
            said("Pod", &format!("{ENV}-0"), "FailedMount", "no such disk", 1).unwrap().0,
            "volume_failed"
        );
    }

    #[test]
    fn a_probe_that_fails_for_a_moment_is_no_trouble() {
        let pod = format!("{ENV}-0");
        let text = "Startup probe failed: HTTP probe failed with statuscode: 503";
        assert_eq!(said("Pod", &pod, "Unhealthy", text, 3), None);
        assert_eq!(said("Pod", &pod, "Unhealthy", text, 10), Some(("not_opening", Weight::Trouble)));
        assert_eq!(said("Pod", &pod, "Pulling", "Pulling image", 1), Some(("pulling", Weight::Step)));
    }
}
