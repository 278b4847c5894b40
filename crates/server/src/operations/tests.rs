use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::metrics::{Method, Metrics};

struct Fixed(&'static str, Result<(), String>);

impl Check for Fixed {
    fn name(&self) -> &'static str {
        self.0
    }

    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.1.clone() })
    }
}

async fn get(checks: Vec<Arc<dyn Check>>, registry: Registry, path: &str) -> (StatusCode, String) {
    let operations = Operations { registry: Arc::new(registry), checks: checks.into() };
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router(operations).oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn says_everything_that_is_wrong_at_once() {
    let checks: Vec<Arc<dyn Check>> = vec![
        Arc::new(Fixed("store", Err("no space left".into()))),
        Arc::new(Fixed("clock", Ok(()))),
        Arc::new(Fixed("revocations", Err("stale for 7 s".into()))),
    ];
    let (status, body) = get(checks, Registry::default(), "/health/ready").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["status"], "not ready");
    assert_eq!(told["checks"][0]["reason"], "no space left");
    assert_eq!(told["checks"][1]["status"], "healthy");
    assert_eq!(told["checks"][2]["reason"], "stale for 7 s");
}

#[tokio::test]
async fn is_alive_even_when_it_is_not_ready() {
    let checks: Vec<Arc<dyn Check>> = vec![Arc::new(Fixed("store", Err("away".into())))];
    assert_eq!(get(checks, Registry::default(), "/health/live").await.0, StatusCode::OK);
    let well: Vec<Arc<dyn Check>> = vec![Arc::new(Fixed("store", Ok(())))];
    assert_eq!(get(well, Registry::default(), "/health/ready").await.0, StatusCode::OK);
}

#[tokio::test]
async fn shows_metrics_under_their_names() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.proved(Method::Password, std::time::Duration::from_millis(80), Ok(()));
    let grant = Method::of_grant(Some("urn:ietf:params:oauth:grant-type:token-exchange"));
    metrics.proved(grant, std::time::Duration::from_millis(2), Err("invalid_grant"));
    metrics.proved(Method::of_grant(Some("made\"up")), std::time::Duration::ZERO, Err("x"));
    metrics.issued("access");
    let (status, text) = get(Vec::new(), registry, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "# TYPE auth_requests_total counter",
        r#"auth_requests_total{method="password",result="success"} 1"#,
        r#"auth_requests_total{method="token-exchange",result="failure"} 1"#,
        r#"auth_errors_total{method="token-exchange",error_type="invalid_grant"} 1"#,
        r#"auth_errors_total{method="other",error_type="x"} 1"#,
        r#"auth_request_duration_seconds_count{method="password"} 1"#,
        r#"token_issued_total{service="provider",token_type="access"} 1"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("# EOF"));
}
