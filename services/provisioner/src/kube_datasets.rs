//! Which volumes are the datasets that an environment asked for? Claims of its namespace that say so.
//!
//! Whoever prepares a dataset labels its claim with the dataset's name, and with a tenant where it is not
//! for all. A claim without the label, such as another environment's files, is no dataset.

use events::env::Phase;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::compute::{ComputeError, Spec};
use crate::kube_answers::refused;
use crate::kube_objects::{LABEL_DATASET, LABEL_TENANT, tenant_label};
use crate::kube_requests::Requests;

/// Name of each dataset with that of its claim; one request each.
pub async fn claims(requests: &Requests, spec: &Spec) -> Result<Vec<(String, String)>, ComputeError> {
    let api = requests.api::<PersistentVolumeClaim>();
    let mut found = Vec::new();
    for name in &spec.datasets {
        let label = format!("{LABEL_DATASET}={name}");
        let listed = requests.ask("list_datasets", api.list(&ListParams::default().labels(&label))).await;
        let listed = listed.map_err(|error| refused(Phase::Volume, error))?;
        let theirs = |claim: &&PersistentVolumeClaim| {
            let owner = claim.labels().get(LABEL_TENANT);
            owner.is_none_or(|owner| owner == tenant_label(&spec.tenant))
        };
        match listed.items.iter().find(theirs) {
            Some(claim) => found.push((name.clone(), claim.name_any())),
            None => {
                return Err(ComputeError::DatasetMissing(format!(
                    "there is no dataset {name:?}: no claim in the namespace of environments has the label {label}"
                )));
            }
        }
    }
    Ok(found)
}
