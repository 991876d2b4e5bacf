//! Who is paired with whom, in memory: the snapshot that every relayed call reads.
//!
//! An exact subject wins over `*`. Revoked pairings route nothing. Two sidecars never share a
//! subject: that is refused when the join token is made and again when it is used.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ibkr_agent_domain::SidecarId;

use super::{Pairing, StoreError, Subject, SubjectMatch};

#[derive(Debug, Default)]
struct IssuerRoutes {
    exact: HashMap<String, SidecarId>,
    any: Option<SidecarId>,
}

/// A snapshot of all pairings.
#[derive(Debug, Default)]
pub struct Directory {
    pairings: BTreeMap<SidecarId, Arc<Pairing>>,
    routes: HashMap<String, IssuerRoutes>,
}

impl Directory {
    pub(super) fn new(pairings: Vec<Pairing>) -> Result<Self, StoreError> {
        let mut directory = Self::default();
        for pairing in pairings {
            let id = pairing.id()?;
            if !pairing.revoked {
                for subject in &pairing.subjects {
                    let routes = directory.routes.entry(subject.issuer.clone()).or_default();
                    match &subject.subject {
                        SubjectMatch::Exact(exact) => {
                            routes.exact.insert(exact.clone(), id.clone());
                        }
                        SubjectMatch::Any => routes.any = Some(id.clone()),
                    }
                }
            }
            directory.pairings.insert(id, Arc::new(pairing));
        }
        Ok(directory)
    }

    /// The sidecar that serves a subject.
    #[must_use]
    pub fn route(&self, issuer: &str, subject: &str) -> Option<&SidecarId> {
        let routes = self.routes.get(issuer)?;
        routes.exact.get(subject).or(routes.any.as_ref())
    }

    /// A pairing that is not revoked.
    #[must_use]
    pub fn active(&self, sidecar: &SidecarId) -> Option<&Arc<Pairing>> {
        self.pairings.get(sidecar).filter(|pairing| !pairing.revoked)
    }

    /// A pairing, revoked or not.
    #[must_use]
    pub fn pairing(&self, sidecar: &SidecarId) -> Option<&Arc<Pairing>> {
        self.pairings.get(sidecar)
    }

    /// Every pairing, in order of the sidecars' ids.
    pub fn iter(&self) -> impl Iterator<Item = (&SidecarId, &Arc<Pairing>)> {
        self.pairings.iter()
    }

    /// How many pairings there are, revoked ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairings.len()
    }

    /// Whether nobody is paired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairings.is_empty()
    }

    /// Refuses subjects that belong to another sidecar.
    pub(super) fn check_free(
        &self,
        sidecar: &SidecarId,
        subjects: &[Subject],
    ) -> Result<(), StoreError> {
        for wanted in subjects {
            let Some(routes) = self.routes.get(&wanted.issuer) else {
                continue;
            };
            let owner = match &wanted.subject {
                SubjectMatch::Exact(exact) => routes.exact.get(exact),
                SubjectMatch::Any => routes.any.as_ref(),
            };
            if let Some(owner) = owner.filter(|owner| *owner != sidecar) {
                return Err(StoreError::SubjectTaken {
                    issuer: wanted.issuer.clone(),
                    subject: wanted.subject_text().to_owned(),
                    owner: owner.clone(),
                });
            }
        }
        Ok(())
    }
}
