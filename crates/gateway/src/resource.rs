//! What the gateway says of itself to clients that look for it (RFC 9728), and how its challenges lead
//! there. All of it comes from the configuration and the map: a request, its `Host` included, changes
//! none of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tegata_mesh::{NormalPath, ServiceMap};
use tegata_token::ProtectedResource;

use crate::refusal::{Refusal, Refused};

/// For how long the document may be kept: what a new route asks for is found this much later.
const LASTING: &str = "public, max-age=300";

/// The description of the gateway, made when the map changes.
#[derive(Debug)]
pub(crate) struct Described {
    path: String,
    /// What is added to challenges.
    parameter: String,
    document: Bytes,
}

impl Described {
    /// Of a resource with the scopes that its routes ask for.
    pub(crate) fn new(resource: &ProtectedResource, services: &ServiceMap) -> Self {
        let scopes: BTreeSet<&str> = services
            .routes()
            .flat_map(|route| route.scopes.iter().map(tegata_mesh::Scope::as_str))
            .collect();
        let resource = resource.clone().with_scopes(scopes.into_iter().map(str::to_owned));
        Self {
            path: resource.path().to_owned(),
            parameter: resource.parameter(),
            document: resource.document().into(),
        }
    }

    /// Whether a path is that of the description.
    pub(crate) fn is_at(&self, path: &NormalPath<'_>) -> bool {
        path.as_str() == self.path
    }

    /// The description, to whoever asks for it.
    pub(crate) fn answer(&self, method: &Method) -> Result<Response<Bytes>, Refused> {
        if *method != Method::GET && *method != Method::HEAD {
            let detail = "the description of the gateway is read";
            let allow = HeaderValue::from_static("GET, HEAD");
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
                .with(header::ALLOW, allow));
        }
        let mut response = Response::new(self.document.clone());
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(LASTING));
        Ok(response)
    }

    /// Has every challenge of a refusal lead to the description (RFC 9728 §5.1).
    pub(crate) fn lead(&self, refused: &mut Refusal) {
        for (name, value) in &mut refused.fields {
            let Some(challenge) = value.to_str().ok().filter(|_| *name == header::WWW_AUTHENTICATE)
            else {
                continue;
            };
            // A scheme alone is followed by its first parameter, and a parameter by the next.
            let between = if challenge.contains(' ') { ", " } else { " " };
            if let Ok(led) =
                HeaderValue::try_from(format!("{challenge}{between}{}", self.parameter))
            {
                *value = led;
            }
        }
    }
}
