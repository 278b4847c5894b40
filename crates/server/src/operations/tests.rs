use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::metrics::{Method, Metrics};

struct Fixed(&'static str, Result<(), Unwell>);

fn unwell(detail: &str) -> Result<(), Unwell> {
    Err(Unwell::new(Severity::NotReady, "broken", detail))
}

impl Check for Fixed {
    fn name(&self) -> &'static str {
        self.0
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
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
        Arc::new(Fixed("store", unwell("no space left"))),
        Arc::new(Fixed("clock", Ok(()))),
        Arc::new(Fixed("revocations", unwell("stale for 7 s"))),
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
async fn says_what_is_worse_than_it_should_be_and_stays_ready() {
    let slow = Unwell {
        severity: Severity::Degraded,
        reasons: vec![("high_latency", "p99 is 12 ms".into()), ("low_hits", "90 %".into())],
    };
    let gone = Unwell::new(Severity::Without, "write_failed", "Redis is away");
    let checks: Vec<Arc<dyn Check>> =
        vec![Arc::new(Fixed("a", Err(slow))), Arc::new(Fixed("b", Err(gone)))];
    let (status, body) = get(checks, Registry::default(), "/health/ready").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &told["status"], &told["health"]),
        (StatusCode::OK, &"ready".into(), &"degraded".into())
    );
    assert_eq!(told["checks"][0]["status"], "degraded");
    assert_eq!(told["checks"][0]["reasons"], json!(["high_latency", "low_hits"]));
    assert_eq!(told["checks"][1]["status"], "unhealthy");
}

#[tokio::test]
async fn is_alive_even_when_it_is_not_ready() {
    let checks: Vec<Arc<dyn Check>> = vec![Arc::new(Fixed("store", unwell("away")))];
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
    metrics.issued_access(tegata_core::SinceBoot(std::time::Duration::ZERO), 900);
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

#[tokio::test]
async fn no_answer_is_taken_for_a_page() {
    for (method, path) in [
        (http::Method::GET, "/health/live"),
        (http::Method::GET, "/health/ready"),
        (http::Method::GET, "/metrics"),
        (http::Method::GET, "/<script>"),
        (http::Method::POST, "/metrics"),
        (http::Method::OPTIONS, "/health/live"),
    ] {
        let operations = Operations { registry: Arc::default(), checks: Arc::from([]) };
        let request = Request::builder().method(&method).uri(path.replace(['<', '>'], "%3C"));
        let response = router(operations).oneshot(request.body(Body::empty()).unwrap()).await;
        let response = response.unwrap();
        let told = response.headers().get(header::X_CONTENT_TYPE_OPTIONS);
        assert_eq!(told.unwrap(), "nosniff", "{method} {path}");
    }
}

/// Something that is looked after by code with a defect.
struct Broken;

impl Check for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        panic!("secret-of-a-store")
    }
}

#[tokio::test]
async fn what_looks_and_panics_is_not_ready_and_says_so() {
    let checks: Vec<Arc<dyn Check>> = vec![Arc::new(Broken)];
    let (status, text) = get(checks, Registry::default(), "/health/ready").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text.contains("server_error") && text.contains("trace_id"), "{text}");
    assert!(!text.contains("secret-of-a-store"), "{text}");
}
