//! Every reason for which a request goes no further, in one place: its name, the phase that gives it, what
//! it means, and what has to change for the request to pass.
//!
//! The names are promises: clients, dashboards and tests rely on them. No refusal is made with a name that
//! does not stand here ([`Refusal::new`](crate::refusal::Refusal::new)), and the tables of the documentation
//! are held against this one.

use serde::Serialize;

/// The part of the way on which something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Is this one request, and can it be read in one way?
    Admit,
    /// Who sends it, and does the credential still count?
    Identify,
    /// How often may they?
    Limit,
    /// May they?
    Decide,
    /// Does it reach the service, and come back?
    Forward,
    /// Is the document in GraphQL one that may pass?
    Graphql,
    /// Is what is put together whole?
    Bff,
}

/// What kind of change lets a request pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// The request must be written in another way.
    Rewrite,
    /// A credential must be shown.
    Authenticate,
    /// Another credential must be shown in place of this one.
    NewCredential,
    /// The caller must sign in again, or in a stronger way.
    StepUp,
    /// Another method.
    Method,
    /// The caller must be given a role.
    Role,
    /// The credential must have more scopes.
    Scope,
    /// It must come from elsewhere, or at another time.
    Within,
    /// A rule that forbids must be lifted.
    Lift,
    /// Policies must say something else.
    Policy,
    /// The time will come by itself.
    Wait,
    /// Whoever declares routes, services and settings has to change one.
    Declare,
    /// Something that must answer does not: the same request passes when it does.
    Repair,
}

/// Reasons that are told in one breath.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// The phase that gives them.
    pub phase: Phase,
    /// The statuses that go with them.
    pub statuses: &'static [u16],
    /// Their names.
    pub ids: &'static [&'static str],
    /// What they mean, in English and Japanese.
    pub means: [&'static str; 2],
    /// What kind of change lets the request pass.
    pub remedy: Remedy,
    /// What has to change, in English and Japanese.
    pub change: [&'static str; 2],
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Admit,
        Self::Identify,
        Self::Limit,
        Self::Decide,
        Self::Forward,
        Self::Graphql,
        Self::Bff,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Identify => "identify",
            Self::Limit => "limit",
            Self::Decide => "decide",
            Self::Forward => "forward",
            Self::Graphql => "graphql",
            Self::Bff => "bff",
        }
    }
}

impl Reason {
    /// What stands here of a name.
    #[must_use]
    pub fn of(id: &str) -> Option<&'static Self> {
        REASONS.iter().find(|reason| reason.ids.contains(&id))
    }
}

/// All names, each once.
pub fn ids() -> impl Iterator<Item = &'static str> {
    REASONS.iter().flat_map(|reason| reason.ids.iter().copied())
}

const fn reason(
    phase: Phase,
    (statuses, ids): (&'static [u16], &'static [&'static str]),
    means: [&'static str; 2],
    remedy: Remedy,
    change: [&'static str; 2],
) -> Reason {
    Reason { phase, statuses, ids, means, remedy, change }
}

use self::{Phase as P, Remedy as R};

/// All reasons.
pub static REASONS: &[Reason] = &[
    // Admit: the framing and the head.
    reason(
        P::Admit,
        (&[400], &["ambiguous_framing", "content_length", "transfer_encoding", "chunk_malformed"]),
        [
            "two readers could see two requests",
            "読む側によって別々のリクエストに見えるおそれがあります",
        ],
        R::Rewrite,
        [
            "send one `Content-Length`, or one `Transfer-Encoding: chunked` with well-formed chunks, and not both",
            "`Content-Length` を一つ、または正しいチャンクの `Transfer-Encoding: chunked` を一つだけ送ってください",
        ],
    ),
    reason(
        P::Admit,
        (
            &[400],
            &["request_line_malformed", "line_end", "field_folded", "field_name", "field_value"],
        ),
        ["a line of the head is none of HTTP/1.1", "ヘッダーの行が HTTP/1.1 の形ではありません"],
        R::Rewrite,
        [
            "write the request as RFC 9112 has it: lines that end with CRLF, names of letters, digits and hyphens, \
             values without control characters, nothing folded",
            "RFC 9112 のとおりに送ってください: 行は CRLF で終わり、名前は英数字とハイフン、値に制御文字や折り返しを含めません",
        ],
    ),
    reason(
        P::Admit,
        (&[505], &["http_version"]),
        [
            "neither HTTP/1.0 nor 1.1; HTTP/2 begins in its own way",
            "HTTP/1.0 でも 1.1 でもありません。HTTP/2 には独自の始め方があります",
        ],
        R::Rewrite,
        [
            "speak HTTP/1.1, or HTTP/2 from its preface on",
            "HTTP/1.1、または前置きから始まる HTTP/2 を使ってください",
        ],
    ),
    reason(
        P::Admit,
        (&[400], &["host"]),
        [
            "`Host` is missing, stands twice, is no host, or is not that of the target",
            "`Host` がない、重複している、ホスト名でない、または宛先と異なります",
        ],
        R::Rewrite,
        ["send one `Host`, the one of the address", "宛先と同じ `Host` を一つだけ送ってください"],
    ),
    reason(
        P::Admit,
        (&[421], &["misdirected"]),
        [
            "this host is not served here (`gateway.hosts`)",
            "このホストはここでは扱っていません (`gateway.hosts`)",
        ],
        R::Rewrite,
        [
            "ask for one of the hosts in `gateway.hosts`, or add this one there",
            "`gateway.hosts` のホスト宛てに送るか、このホストをそこに加えてください",
        ],
    ),
    reason(
        P::Admit,
        (&[400], &["target_illegal_byte", "target_control", "path_not_absolute"]),
        [
            "a byte in the target that must be percent-encoded, or a target that is no path; over HTTP/2, too, a `#` \
             that parsers would cut silently",
            "宛先にパーセント符号化すべきバイトがあるか、宛先がパスではありません",
        ],
        R::Rewrite,
        [
            "percent-encode what is not a letter, a digit or one of the marks that stand for themselves, and begin \
             with `/`",
            "英数字と許された記号以外はパーセント符号化し、`/` で始めてください",
        ],
    ),
    reason(
        P::Admit,
        (
            &[400],
            &[
                "path_dot_segment",
                "path_encoded_slash",
                "path_backslash",
                "path_double_encoding",
                "path_empty_segment",
                "path_malformed_escape",
                "path_not_utf8",
                "path_nul",
                "path_parameters",
            ],
        ),
        [
            "a path that two readers could read differently",
            "読む側によって別の意味になりうるパスです",
        ],
        R::Rewrite,
        [
            "write the path in its one plain form: no `.` or `..` segment, no empty segment, no `%2f`, `\\`, `;`, `%00` \
             or `%25` before two digits, UTF-8 alone",
            "パスを一通りの形で書いてください: `.` や `..`、空の区間、`%2f`、`\\`、`;`、`%00`、二重の符号化を含めず、UTF-8 だけにします",
        ],
    ),
    reason(
        P::Admit,
        (&[400], &["sql_union_select", "sql_drop_table", "sql_insert_into", "sql_delete_from"]),
        ["a path that has the shape of SQL", "SQL 文の形をしたパスです"],
        R::Rewrite,
        [
            "send what is searched for in the query or the body, not in the path",
            "検索語はパスではなく、クエリまたは本文で送ってください",
        ],
    ),
    reason(
        P::Admit,
        (
            &[413, 414, 431],
            &["body_too_large", "target_too_long", "fields_too_large", "too_many_fields"],
        ),
        [
            "a body over 100 MiB (1 MiB for Tegata's own pages), a target over 8 KiB, more than 100 fields or 32 KiB \
             of them",
            "本文が 100 MiB (Tegata 自身のページでは 1 MiB)、宛先が 8 KiB、ヘッダーが 100 個または 32 KiB を超えています",
        ],
        R::Rewrite,
        [
            "send less: in several requests, or in the body in place of the head; or let the route take more",
            "分けて送る、ヘッダーでなく本文で送るなど小さくするか、ルートの上限を上げてください",
        ],
    ),
    reason(
        P::Admit,
        (&[408], &["body_too_slow"]),
        ["the body came too slowly", "本文の届き方が遅すぎました"],
        R::Rewrite,
        ["send the body without long pauses", "本文を途切れずに送ってください"],
    ),
    reason(
        P::Admit,
        (&[400], &["body_malformed", "trailers_malformed"]),
        [
            "the body ended early, or what stands behind it is malformed",
            "本文が途中で終わったか、その後ろのトレーラーが正しくありません",
        ],
        R::Rewrite,
        [
            "send all of the body, and good trailers or none",
            "本文をすべて送り、トレーラーは正しくするか省いてください",
        ],
    ),
    reason(
        P::Admit,
        (&[417, 501], &["expectation", "upgrade_not_supported"]),
        [
            "nothing but `100-continue`; no upgrades to other protocols, and WebSockets where the route says so",
            "`100-continue` 以外は期待できません。他のプロトコルへの切り替えはなく、WebSocket はルートが許す場合だけです",
        ],
        R::Rewrite,
        [
            "leave `Expect` or `Upgrade` out; for a WebSocket, the route must say `websocket = true`",
            "`Expect` や `Upgrade` を外してください。WebSocket にはルートの `websocket = true` が必要です",
        ],
    ),
    reason(
        P::Admit,
        (&[400, 426], &["websocket", "websocket_version", "several_upgrades", "sent_early"]),
        [
            "what asks for a WebSocket is not whole, or something came before it was opened",
            "WebSocket の要求が完全でないか、開く前に何かが送られました",
        ],
        R::Rewrite,
        [
            "ask as RFC 6455 §4.1 has it: one `Upgrade: websocket`, `Sec-WebSocket-Version: 13`, a key of 16 bytes, and \
             nothing before the answer",
            "RFC 6455 §4.1 のとおりに要求してください: `Upgrade: websocket` を一つ、`Sec-WebSocket-Version: 13`、16 バイトの鍵。応答の前には何も送りません",
        ],
    ),
    reason(
        P::Admit,
        (&[403], &["origin_missing", "origin_not_allowed"]),
        [
            "scripts of this origin may not call (`gateway.cors`); with a cookie, a WebSocket is opened by a page of \
             this origin, or of one in `cors.origins`",
            "このオリジンのスクリプトからは呼べません (`gateway.cors`)。Cookie を伴う WebSocket は、このオリジンか `cors.origins` のページだけが開けます",
        ],
        R::Declare,
        [
            "call from a page of this origin, or add the origin to `gateway.cors.origins`",
            "このオリジンのページから呼ぶか、`gateway.cors.origins` にオリジンを加えてください",
        ],
    ),
    reason(
        P::Admit,
        (&[403], &["worker_scope"]),
        [
            "the script of a service worker that would stand before Tegata's own pages",
            "Tegata 自身のページの前に立つことになる Service Worker のスクリプトです",
        ],
        R::Rewrite,
        [
            "serve the script in a directory of its own",
            "スクリプトを専用のディレクトリーから配信してください",
        ],
    ),
    reason(
        P::Admit,
        (&[404], &["no_route"]),
        ["no service is at this path", "このパスにはサービスがありません"],
        R::Declare,
        [
            "ask for a path that `tegata service list` shows, or declare a route for this one",
            "`tegata service list` にあるパスを使うか、このパスのルートを宣言してください",
        ],
    ),
    reason(
        P::Admit,
        (&[429], &["flood"]),
        [
            "a connection over HTTP/2 that asks for more than anybody would",
            "HTTP/2 の接続が通常ありえない量を要求しました",
        ],
        R::Rewrite,
        [
            "open a new connection, and do not take back most of what is asked for on it",
            "新しい接続を開き、要求の取り消しを繰り返さないでください",
        ],
    ),
    reason(
        P::Admit,
        (&[503], &["overloaded"]),
        [
            "there is more to do than can be done: wait for `Retry-After`",
            "処理能力を超えています。`Retry-After` だけ待ってください",
        ],
        R::Wait,
        [
            "send it again after `Retry-After`; where this lasts, add nodes or raise `gateway.limits`",
            "`Retry-After` の後に再送してください。続くようなら、ノードを増やすか `gateway.limits` を上げてください",
        ],
    ),
    reason(
        P::Admit,
        (&[503], &["stopping"]),
        [
            "`/health`, and what would open a WebSocket: the gateway is about to stop",
            "ゲートウェイがまもなく止まります (`/health` と WebSocket の開始)",
        ],
        R::Repair,
        [
            "ask another node, or this one when it is back",
            "別のノードか、再起動後のこのノードに送ってください",
        ],
    ),
    reason(
        P::Admit,
        (&[500], &["gateway_failed"]),
        [
            "the gateway itself has failed on this request, in whichever phase: a defect",
            "このリクエストの処理中に、いずれかの段階でゲートウェイ自体の不具合が起きました",
        ],
        R::Repair,
        [
            "look into the log of the process, which has the place in the code, and report it",
            "プロセスのログにあるコード上の位置を確認し、報告してください",
        ],
    ),
    // Identify.
    reason(
        P::Identify,
        (
            &[400],
            &[
                "several_authorizations",
                "several_session_cookies",
                "several_credentials",
                "several_api_keys",
            ],
        ),
        ["nobody can tell which", "どれを指すのか決められません"],
        R::Rewrite,
        [
            "send one credential, once: one `Authorization`, or one `X-API-Key`, or one session cookie",
            "認証情報は一つだけ、一度だけ送ってください",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["not_authenticated"]),
        ["no credentials", "認証情報がありません"],
        R::Authenticate,
        ["sign in, or send an access token", "サインインするか、アクセストークンを送ってください"],
    ),
    reason(
        P::Identify,
        (&[401], &["authorization", "authorization_scheme"]),
        [
            "`Authorization` is malformed, or is of a scheme that is not known here",
            "`Authorization` の形が正しくないか、ここでは使えない方式です",
        ],
        R::Rewrite,
        [
            "send `Authorization: Bearer` and the token (with `DPoP`, where it is bound to a key)",
            "`Authorization: Bearer` とトークンを送ってください (鍵に結び付いている場合は `DPoP`)",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["token_expired", "token_too_long"]),
        [
            "the token has ended, or would live longer than tokens may",
            "トークンの有効期限が切れたか、許される寿命を超えています",
        ],
        R::NewCredential,
        [
            "get a new token: refresh it, or sign in again",
            "トークンを更新するか、もう一度サインインしてください",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["token_not_yet"]),
        ["the token does not count yet", "トークンはまだ有効ではありません"],
        R::Wait,
        [
            "wait until its `nbf`, and have the clocks of issuer and gateway agree",
            "`nbf` まで待ち、発行側とゲートウェイの時計を合わせてください",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["token_revoked", "key_revoked"]),
        [
            "the token or API key has been taken back, or what it came from",
            "トークン、API キー、またはその元になったものが取り消されています",
        ],
        R::NewCredential,
        [
            "sign in again, or get a new credential: what was taken back does not come back",
            "もう一度サインインするか、新しい認証情報を得てください。取り消されたものは戻りません",
        ],
    ),
    reason(
        P::Identify,
        (
            &[401],
            &[
                "token_malformed",
                "token_key_unknown",
                "token_algorithm",
                "token_signature",
                "token_kind",
                "token_claims",
                "token_issuer",
                "token_audience",
                "token_epoch",
                "subject_unfit",
            ],
        ),
        [
            "the token does not count: it is none, is of another issuer, for another audience, of before a backup \
             was restored, or was changed",
            "トークンとして認められません: 形が違う、発行者や宛先が違う、バックアップ復元前のもの、または改変されています",
        ],
        R::NewCredential,
        [
            "get an access token from this issuer for this audience, and send it as it was given",
            "この発行者から、この宛先向けのアクセストークンを得て、そのまま送ってください",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["token_inactive"]),
        [
            "another node that was asked says that it does not count",
            "問い合わせた別のノードが、無効だと答えました",
        ],
        R::NewCredential,
        ["get a new token", "新しいトークンを得てください"],
    ),
    reason(
        P::Identify,
        (&[401], &["token_unknown"]),
        ["an opaque token that stands for none", "対応するもののない不透明トークンです"],
        R::NewCredential,
        ["get a new token", "新しいトークンを得てください"],
    ),
    reason(
        P::Identify,
        (&[401], &["token_bound", "token_not_bound", "token_certificate"]),
        [
            "the token is bound to a key or certificate that was not shown, or is shown as if it were",
            "トークンに結び付いた鍵や証明書が示されていないか、結び付いていないのにそう示されています",
        ],
        R::Rewrite,
        [
            "show the key or certificate that the token is bound to (`Authorization: DPoP` with a proof, or the client \
             certificate); send an unbound token as `Bearer`",
            "トークンが結び付いた鍵 (`Authorization: DPoP` と証明) またはクライアント証明書を示してください。結び付いていないトークンは `Bearer` で送ります",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["dpop_proof", "dpop_time", "dpop_nonce", "dpop_replayed"]),
        [
            "the proof of the key is malformed, of another request, too old, without the nonce, or was used before",
            "鍵の証明が正しくない、別のリクエストのもの、古い、ノンスがない、または使用済みです",
        ],
        R::Rewrite,
        [
            "make a new proof for this request, with the latest `DPoP-Nonce` that was told",
            "最後に示された `DPoP-Nonce` で、このリクエストのための新しい証明を作ってください",
        ],
    ),
    reason(
        P::Identify,
        (&[503], &["dpop_busy", "dpop_unknown"]),
        [
            "there is no room for more proofs at the moment, or the store does not say whether one was used",
            "証明を記録する余地がないか、使用済みかどうかをストアが答えません",
        ],
        R::Wait,
        [
            "send it again with a new proof after `Retry-After`",
            "`Retry-After` の後に新しい証明で再送してください",
        ],
    ),
    reason(
        P::Identify,
        (&[400], &["client_cert"]),
        [
            "what a trusted proxy says of the certificate is malformed",
            "信頼するプロキシーの伝える証明書が正しくありません",
        ],
        R::Declare,
        [
            "have the proxy write `Client-Cert` once, as RFC 9440 has it, and remove what clients send under that name",
            "プロキシーが RFC 9440 のとおり `Client-Cert` を一度だけ書き、クライアントのものを取り除くようにしてください",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["certificate_unknown"]),
        ["the certificate makes nobody known", "証明書に対応する相手がいません"],
        R::Declare,
        [
            "declare the certificate for a client or service, or show another credential",
            "証明書をクライアントまたはサービスに対して宣言するか、別の認証情報を示してください",
        ],
    ),
    reason(
        P::Identify,
        (&[401, 403], &["key_unknown", "key_malformed", "key_expired"]),
        ["the API key does not count", "API キーが有効ではありません"],
        R::NewCredential,
        [
            "send a key as it was given that counts: `tegata apikey create` makes one",
            "有効なキーをそのまま送ってください。`tegata apikey create` で作れます",
        ],
    ),
    reason(
        P::Identify,
        (&[401, 403], &["key_elsewhere", "credential_elsewhere"]),
        ["the credential does not count on this route", "この認証情報はこのルートでは使えません"],
        R::NewCredential,
        [
            "show a credential that the route takes (`credentials`), or have the key cover the service and route",
            "ルートの受け付ける認証情報 (`credentials`) を示すか、キーの対象にこのサービスとルートを加えてください",
        ],
    ),
    reason(
        P::Identify,
        (&[401], &["session_unknown", "session_not_theirs"]),
        ["the cookie does not count", "Cookie が有効ではありません"],
        R::Authenticate,
        ["sign in again", "もう一度サインインしてください"],
    ),
    reason(
        P::Identify,
        (&[401], &["session_superseded"]),
        [
            "the session goes on, and its cookie was replaced by a newer one",
            "セッションは続いていますが、Cookie は新しいものに置き換えられています",
        ],
        R::NewCredential,
        [
            "send it again with the newer cookie, which the browser has by then; sign in where it has none",
            "ブラウザーが受け取っている新しい Cookie でもう一度送ってください。なければサインインしてください",
        ],
    ),
    reason(
        P::Identify,
        (&[403], &["csrf"]),
        [
            "with a session cookie, something is changed without its token, or from another site",
            "セッション Cookie での変更に CSRF トークンがないか、別サイトからのものです",
        ],
        R::Rewrite,
        [
            "send the session's CSRF token in `X-CSRF-Token`, from a page of this origin",
            "このオリジンのページから、`X-CSRF-Token` にセッションの CSRF トークンを付けて送ってください",
        ],
    ),
    reason(
        P::Identify,
        (&[403], &["not_a_caller"]),
        [
            "the service does not name the one that calls it by its certificate among its `callers`",
            "証明書で呼び出した相手が、サービスの `callers` にありません",
        ],
        R::Declare,
        [
            "`tegata service allow SERVICE CALLER` names it",
            "`tegata service allow SERVICE CALLER` で加えてください",
        ],
    ),
    reason(
        P::Identify,
        (&[503], &["keys_unavailable", "references_unavailable"]),
        [
            "it cannot be learnt what the key or the opaque token stands for",
            "キーや不透明トークンが何を表すか確かめられません",
        ],
        R::Repair,
        [
            "send it again when the store answers",
            "ストアが応答するようになってから再送してください",
        ],
    ),
    reason(
        P::Identify,
        (&[503], &["revocations_stale", "sessions_unavailable", "revocation_unknown"]),
        [
            "it cannot be learnt whether the credential counts",
            "認証情報がまだ有効か確かめられません",
        ],
        R::Repair,
        [
            "send it again when the store answers; a route with `revocation = \"available\"` does not wait for it",
            "ストアが応答してから再送してください。`revocation = \"available\"` のルートは待ちません",
        ],
    ),
    reason(
        P::Identify,
        (&[503], &["issuer_keys_unavailable"]),
        [
            "none of the keys of another issuer could be fetched so far, or not for `keys_max_age`",
            "別の発行者の鍵をまだ取得できないか、`keys_max_age` の間取得できていません",
        ],
        R::Repair,
        [
            "send it again when the issuer's key set can be fetched",
            "発行者の鍵を取得できてから再送してください",
        ],
    ),
    // Limit.
    reason(
        P::Limit,
        (&[429], &["too_many_requests"]),
        ["wait for `Retry-After`", "`Retry-After` だけ待ってください"],
        R::Wait,
        [
            "send it again when the limit lets the next one pass",
            "上限が次の一件を通す時刻に再送してください",
        ],
    ),
    // Decide.
    reason(
        P::Decide,
        (&[401], &["insufficient_acr", "authentication_too_old"]),
        [
            "the route asks for a stronger or newer sign-in",
            "ルートがより強い、またはより新しいサインインを求めています",
        ],
        R::StepUp,
        [
            "sign in again, as the challenge says",
            "応答の指示のとおり、もう一度サインインしてください",
        ],
    ),
    reason(
        P::Decide,
        (&[403], &["missing_role"]),
        [
            "the caller has none of the roles of which one is needed",
            "必要なロールのどれも持っていません",
        ],
        R::Role,
        ["give the caller one of the roles", "ロールのどれかを与えてください"],
    ),
    reason(
        P::Decide,
        (&[403], &["missing_scope"]),
        ["the token lacks a scope", "トークンにスコープが足りません"],
        R::Scope,
        ["get a token that has the scope", "そのスコープを持つトークンを得てください"],
    ),
    reason(
        P::Decide,
        (&[403], &["outside_network", "outside_hours"]),
        [
            "not from this network, or not at this time",
            "このネットワークから、またはこの時刻には許されません",
        ],
        R::Within,
        [
            "come from one of the networks of the route, in its hours",
            "ルートの定めるネットワークから、定められた時間に送ってください",
        ],
    ),
    reason(
        P::Decide,
        (&[405], &["method_not_allowed"]),
        [
            "the route does not take the method; `CONNECT` and `TRACE` never",
            "ルートがこのメソッドを受け付けません。`CONNECT` と `TRACE` は常に使えません",
        ],
        R::Method,
        ["use a method that `Allow` names", "`Allow` にあるメソッドを使ってください"],
    ),
    reason(
        P::Decide,
        (&[403], &["forbidden"]),
        ["a rule forbids it", "ルールが禁じています"],
        R::Lift,
        [
            "lift the rule that forbids it, or have it not match",
            "禁じているルールを外すか、当てはまらないようにしてください",
        ],
    ),
    reason(
        P::Decide,
        (&[403], &["no_rule"]),
        ["no rule permits it", "許可するルールがありません"],
        R::Declare,
        ["declare a route that permits it", "許可するルートを宣言してください"],
    ),
    reason(
        P::Decide,
        (&[403], &["policy_forbids", "no_policy"]),
        [
            "a policy forbids it, or none permits it where one has to",
            "ポリシーが禁じているか、許可が必要なのにどのポリシーも許可していません",
        ],
        R::Policy,
        [
            "change the policies that are named, or have a policy permit it; `tegata policy explain` shows their clauses",
            "示されたポリシーを変えるか、許可するポリシーを加えてください。`tegata policy explain` で条項を確かめられます",
        ],
    ),
    reason(
        P::Decide,
        (&[403], &["policy_error", "unknown_type", "unknown_action", "invalid_value"]),
        [
            "no policy can be asked about it: one that forbids fails, or the schema does not know the type, action or value",
            "ポリシーに問い合わせられません: 禁止ポリシーの評価に失敗したか、スキーマにない型・操作・値です",
        ],
        R::Policy,
        [
            "mend the policy or the schema that is named; `tegata policy check` names the line",
            "示されたポリシーやスキーマを直してください。`tegata policy check` が行を示します",
        ],
    ),
    reason(
        P::Decide,
        (&[503], &["no_internal_key", "decision_log_unavailable"]),
        [
            "nothing can be signed for the service, or nothing written down where it must be",
            "サービス向けの署名ができないか、必要な記録を書けません",
        ],
        R::Repair,
        [
            "send it again when the node has its signing key, or its disk takes records",
            "ノードに署名鍵が届くか、ディスクに記録できるようになってから再送してください",
        ],
    ),
    // Forward.
    reason(
        P::Forward,
        (
            &[502, 503, 504],
            &["service_broken", "service_unreachable", "service_busy", "service_late"],
        ),
        [
            "the service is closed, away, full (`max_requests`, or 512 connections for each worker), or took 30 s or \
             the route's `timeout`",
            "サービスが停止、不達、満杯 (`max_requests` またはワーカーごとに 512 接続)、または 30 秒かルートの `timeout` を超えました",
        ],
        R::Repair,
        [
            "it was let pass: mend the service, and send it again",
            "許可はされています。サービスを直してから再送してください",
        ],
    ),
    reason(
        P::Forward,
        (&[503], &["service_resting"]),
        [
            "the service failed several times in a row and is left alone",
            "サービスが続けて失敗したため、休ませています",
        ],
        R::Wait,
        [
            "it was let pass: send it again in some seconds, when the service is tried again",
            "許可はされています。数秒後、サービスが再び試されるときに再送してください",
        ],
    ),
    // GraphQL.
    reason(
        P::Graphql,
        (&[400], &["graphql_malformed", "graphql_syntax"]),
        ["it is no request in GraphQL", "GraphQL のリクエストではありません"],
        R::Rewrite,
        [
            "send JSON with `query`, and a document that parses",
            "`query` を持つ JSON と、構文の正しい文書を送ってください",
        ],
    ),
    reason(
        P::Graphql,
        (&[400], &["graphql_invalid", "graphql_variables"]),
        ["it does not fit the schema", "スキーマに合いません"],
        R::Rewrite,
        [
            "ask for fields and variables that the schema has",
            "スキーマにあるフィールドと変数を使ってください",
        ],
    ),
    reason(
        P::Graphql,
        (&[400], &["graphql_operation"]),
        [
            "several operations, and not one name among them",
            "操作が複数あり、名前が一つに決まりません",
        ],
        R::Rewrite,
        ["say `operationName`", "`operationName` を指定してください"],
    ),
    reason(
        P::Graphql,
        (
            &[400],
            &[
                "graphql_cycle",
                "graphql_size",
                "graphql_depth",
                "graphql_aliases",
                "graphql_batch",
                "graphql_cost",
            ],
        ),
        ["it asks for too much", "要求が大きすぎます"],
        R::Rewrite,
        [
            "ask for less at once: fewer levels, aliases, operations or items; or raise the limit of the `[[graphql]]`",
            "階層、別名、操作、件数を減らすか、`[[graphql]]` の上限を上げてください",
        ],
    ),
    reason(
        P::Graphql,
        (&[400], &["graphql_subscription", "graphql_persisted_query"]),
        ["it asks for what does not pass here", "ここでは通らないものを求めています"],
        R::Rewrite,
        [
            "send a query or a mutation with its text",
            "クエリまたはミューテーションを本文ごと送ってください",
        ],
    ),
    reason(
        P::Graphql,
        (&[403], &["graphql_forbidden", "graphql_introspection"]),
        ["it asks for what is for others", "他の人向けの項目を求めています"],
        R::Role,
        [
            "leave the field out, or have a role or scope that its `@allow` names",
            "そのフィールドを外すか、`@allow` にあるロールやスコープを得てください",
        ],
    ),
    reason(
        P::Graphql,
        (&[403], &["graphql_unseen"]),
        [
            "another proxy asks about the head of such a request, of which the body is not seen",
            "別のプロキシーがヘッダーだけを問い合わせており、本文が見えません",
        ],
        R::Rewrite,
        ["send it to the gateway itself", "ゲートウェイに直接送ってください"],
    ),
    reason(
        P::Graphql,
        (&[405], &["graphql_mutation_by_get", "graphql_method"]),
        ["it is sent in the wrong way", "送り方が違います"],
        R::Method,
        ["send it with `POST`", "`POST` で送ってください"],
    ),
    reason(
        P::Graphql,
        (&[415], &["graphql_media_type"]),
        [
            "its body does not say that it is JSON, or is compressed",
            "本文が JSON と示されていないか、圧縮されています",
        ],
        R::Rewrite,
        [
            "send `Content-Type: application/json`, uncompressed",
            "`Content-Type: application/json` で、圧縮せずに送ってください",
        ],
    ),
    reason(
        P::Graphql,
        (&[429], &["graphql_cost_limit"]),
        [
            "the caller has asked for as much as it may; `Retry-After` says for how long",
            "要求できる量を使い切りました。`Retry-After` だけ待ってください",
        ],
        R::Wait,
        ["send it again after `Retry-After`", "`Retry-After` の後に再送してください"],
    ),
    reason(
        P::Graphql,
        (&[503], &["graphql_schema"]),
        [
            "the schema that is kept is none for this version: apply it anew",
            "保存されたスキーマはこの版では使えません。適用し直してください",
        ],
        R::Declare,
        ["`tegata apply` the schema anew", "スキーマを `tegata apply` し直してください"],
    ),
    // Aggregation.
    reason(
        P::Bff,
        (&[400, 403], &["part_parameter"]),
        [
            "the query does not say what belongs into the path, or nothing such is known of the caller",
            "パスに入る値がクエリにないか、呼び出し元について分かっていません",
        ],
        R::Rewrite,
        ["say the parameter, once, in the query", "クエリでパラメーターを一度だけ指定してください"],
    ),
    reason(
        P::Bff,
        (&[400], &["part_path"]),
        [
            "what was filled in does not stay in its segment, or leads onto another route",
            "入れた値が区間に収まらないか、別のルートに出てしまいます",
        ],
        R::Rewrite,
        [
            "say a value that stays in one segment of a path",
            "パスの一区間に収まる値を指定してください",
        ],
    ),
    reason(
        P::Bff,
        (
            &[502, 504],
            &["part_status", "part_not_json", "part_unfit", "part_too_large", "part_late"],
        ),
        [
            "a part did not answer as it must: something else than 2xx, no JSON, too deep, too large, or too late",
            "部分の応答が条件に合いません: 2xx でない、JSON でない、深すぎる、大きすぎる、または遅すぎます",
        ],
        R::Repair,
        [
            "it was let pass: mend the service of the part, or declare the part otherwise",
            "許可はされています。部分のサービスを直すか、宣言を変えてください",
        ],
    ),
];

#[cfg(test)]
mod tests;
