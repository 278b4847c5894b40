//! What the gateway makes of a caller once and uses for many requests: the roles and scopes as the
//! policy knows them, the fields that tell a service who calls, and an internal token.
//!
//! Nothing of it is believed without the credential it was made from: that is verified, and looked
//! up among the revocations, at every request before.

use std::{
    cell::RefCell,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use quick_cache::unsync::Cache;
use tegata_core::{Epoch, Node, Timestamp, TokenId};
use tegata_mesh::{RoleName, Sees};
use tegata_policy::{Held, Kept, PrincipalKind, RouteRule};
use tegata_token::{
    AccessToken, Audience, Claims, Context, ForeignToken, Lineage, Scope, SigningKey, Verified, jws,
};

use crate::{
    certified::CertifiedIdentity,
    config::Internal,
    key::KeyIdentity,
    refusal::{Refusal, Refused},
    route::{Destination, Routing},
    session::SessionIdentity,
};

/// The longest life of an internal token.
const LONGEST: Duration = Duration::from_secs(300);
/// How long before its end a client is told that a token runs out, in seconds: at the earliest.
const RUNNING_OUT: u64 = 30;
/// An internal token with less life left than this is replaced, where a new one would live longer.
const SHORT: u64 = 60;

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Whoever an access token speaks of.
    Token(Arc<Verified<AccessToken>>),
    /// Whoever an access token of another issuer speaks of. Its claims are in words that are never
    /// ours.
    Foreign(Arc<Verified<ForeignToken>>),
    /// Whoever a session cookie stands for.
    Session(Arc<SessionIdentity>),
    /// The service that an API key stands for.
    Key(Arc<KeyIdentity>),
    /// Whoever a client certificate is of.
    Certificate(Arc<CertifiedIdentity>),
}

impl Caller {
    pub(crate) fn claims(&self) -> &Claims {
        match self {
            Self::Token(token) => token.claims(),
            Self::Foreign(token) => token.claims(),
            Self::Session(session) => &session.claims,
            Self::Key(key) => &key.claims,
            Self::Certificate(identity) => &identity.claims,
        }
    }

    /// With what it says who it is, in a word.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Foreign(_) => "foreign",
            Self::Session(_) => "session",
            Self::Key(_) => "key",
            Self::Certificate(_) => "certificate",
        }
    }

    /// The id of the API key that it is known by.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key.id.as_str()),
            _ => None,
        }
    }

    /// What an internal token of it, made at `iat`, falls with beside what its other claims name: the client
    /// that a token was issued to, the key that signed it, where that is not the one that signs internal
    /// tokens, and what takes back what was had when it was issued.
    fn lineage(&self, own_kid: &str, iat: u64) -> Option<Box<Lineage>> {
        let claims = self.claims();
        let mut lineage = match self {
            Self::Token(token) => Lineage::of(claims, token.kid().as_str()),
            Self::Key(_) => Lineage::of(claims, own_kid),
            Self::Certificate(_) => claims.lineage.as_deref().cloned().unwrap_or_default(),
            // Whoever accepts tokens of other issuers hears of them by other names.
            Self::Foreign(_) => Lineage::default(),
            // What a session may do was read just now. That there is one is older.
            Self::Session(_) => {
                return Lineage { began: Some(claims.iat), ..Lineage::default() }.claim();
            }
        };
        lineage.kid.retain(|kid| kid != own_kid);
        lineage.first_issued(claims.first_issued(), iat);
        lineage.claim()
    }

    /// Whether the other says the same, so that what was made of the one serves for the other. Most
    /// often it is the very same, which is seen without reading it.
    fn says_the_same(&self, other: &Self) -> bool {
        let same = match (self, other) {
            (Self::Token(one), Self::Token(other)) => Arc::ptr_eq(one, other),
            (Self::Foreign(one), Self::Foreign(other)) => Arc::ptr_eq(one, other),
            (Self::Session(one), Self::Session(other)) => Arc::ptr_eq(one, other),
            (Self::Key(one), Self::Key(other)) => Arc::ptr_eq(one, other),
            (Self::Certificate(one), Self::Certificate(other)) => {
                // Two certificates may say the same, and be other devices.
                return Arc::ptr_eq(one, other)
                    || (one.thumbprint == other.thumbprint && one.claims == other.claims);
            }
            _ => return false,
        };
        same || self.claims() == other.claims()
    }
}

/// From where somebody asks, and what of their rights remains there.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The address, as far as it is believed.
    ip: IpAddr,
    /// The rule outside of whose networks and hours it is. `None`: it is outside of none.
    outside: Option<Arc<RouteRule>>,
}

impl Asked {
    pub(crate) fn from(ip: IpAddr) -> Self {
        Self { ip: ip.to_canonical(), outside: None }
    }

    fn kept(&self) -> Option<&Kept> {
        self.outside.as_ref()?.requirement().within.kept.as_ref()
    }

    fn is(&self, other: &Self) -> bool {
        let same = match (&self.outside, &other.outside) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        same && self.ip == other.ip
    }
}

/// A caller, for one service.
#[derive(Debug)]
pub(crate) struct Passport {
    pub(crate) caller: Caller,
    asked: Asked,
    pub(crate) kind: PrincipalKind,
    pub(crate) held: Held,
    /// `X-User-ID`.
    pub(crate) user: HeaderValue,
    /// `X-User-Roles`: those that count, as far as the service is to see them.
    pub(crate) roles: HeaderValue,
    internal: RefCell<Option<Minted>>,
    /// What limits are counted by of its claims, each hashed once.
    said: RefCell<Vec<(String, Option<[u8; 16]>)>>,
}

#[derive(Debug, Clone)]
struct Minted {
    token: HeaderValue,
    exp: u64,
}

/// Where a passport is kept.
type Place = (u64, usize, u64);

/// The passports of one worker.
pub(crate) struct Passports {
    node: Node,
    epoch: Epoch,
    config: Internal,
    /// By a hash of what names the credential and from where it is shown, the service, and the generation
    /// of the routes.
    kept: RefCell<Cache<Place, Rc<Passport>>>,
    hasher: RandomState,
    signer: RefCell<Option<Arc<SigningKey>>>,
}

impl Passports {
    pub(crate) fn new(node: Node, epoch: Epoch, config: &Internal) -> Self {
        let kept = RefCell::new(Cache::new(config.kept.get()));
        let hasher = RandomState::new();
        let (config, signer) = (config.clone(), RefCell::default());
        Self { node, epoch, config, kept, hasher, signer }
    }

    /// Takes over the key that signs. What another key signed is forgotten: it may have been taken
    /// back.
    pub(crate) fn use_signer(&self, signer: Option<Arc<SigningKey>>) {
        let same = match (self.signer.borrow().as_ref(), signer.as_ref()) {
            (Some(old), Some(new)) => old.kid() == new.kid(),
            (None, None) => true,
            _ => false,
        };
        if !same {
            *self.signer.borrow_mut() = signer;
            self.kept.borrow_mut().clear();
        }
    }

    /// The passport of a caller for a service.
    ///
    /// # Errors
    /// The credential names its subject in a way that no header field can.
    pub(crate) fn of(
        &self,
        caller: Caller,
        service: usize,
        routing: &Routing,
        asked: Asked,
    ) -> Result<Rc<Passport>, Refused> {
        let Claims { jti, sub, sid, .. } = caller.claims();
        let rule = asked.outside.as_ref().map(|rule| rule.id().as_str());
        // Two certificates of a service may be two devices.
        let device = match &caller {
            Caller::Certificate(identity) => Some(identity.thumbprint.as_str()),
            _ => None,
        };
        let hash = self.hasher.hash_one((jti, sub, sid, asked.ip, rule, device));
        self.at((hash, service, routing.generation), caller, routing, asked)
    }

    /// The same, with what remains of their rights outside of the networks and hours of a rule.
    pub(crate) fn outside(
        &self,
        passport: &Passport,
        service: usize,
        routing: &Routing,
        rule: &Arc<RouteRule>,
    ) -> Result<Rc<Passport>, Refused> {
        let asked = Asked { outside: Some(Arc::clone(rule)), ..passport.asked };
        self.of(passport.caller.clone(), service, routing, asked)
    }

    fn at(
        &self,
        place: Place,
        caller: Caller,
        routing: &Routing,
        asked: Asked,
    ) -> Result<Rc<Passport>, Refused> {
        // INVARIANT: two callers, or two places, can have one hash; what was made of the one never serves
        // for the other.
        if let Some(known) = self.kept.borrow().get(&place)
            && known.caller.says_the_same(&caller)
            && known.asked.is(&asked)
        {
            return Ok(Rc::clone(known));
        }
        // Those of several services together are told to none.
        let sees = routing.service(place.1).map(|service| &service.sees);
        let passport = Rc::new(Passport::new(caller, routing, sees, asked)?);
        self.kept.borrow_mut().insert(place, Rc::clone(&passport));
        Ok(passport)
    }

    /// `X-Internal-Token`: what the gateway tells `target` about the caller, signed.
    ///
    /// # Errors
    /// There is no key to sign with.
    pub(crate) async fn internal(
        &self,
        passport: &Passport,
        target: &Destination,
    ) -> Result<HeaderValue, Refused> {
        let now = self.node.now();
        let original = passport.caller.claims().exp;
        if let Some(minted) = passport.internal.borrow().as_ref()
            && minted.exp > now.secs()
            && (minted.exp - now.secs() >= SHORT || minted.exp == original)
        {
            return Ok(minted.token.clone());
        }
        let minted = Box::pin(self.mint(passport, target, now)).await?;
        let token = minted.token.clone();
        *passport.internal.borrow_mut() = Some(minted);
        Ok(token)
    }

    async fn mint(
        &self,
        passport: &Passport,
        target: &Destination,
        now: Timestamp,
    ) -> Result<Minted, Refused> {
        let unavailable = || {
            let detail = "there is no key to sign what services are told about callers";
            Refusal::unavailable("no_internal_key", detail)
        };
        // Nothing of the worker is held while a key that is in a vault signs.
        let signer = self.signer.borrow().clone().ok_or_else(unavailable)?;
        let (original, kept) = (passport.caller.claims(), passport.asked.kept());
        let exp = (now + self.config.lifetime.min(LONGEST)).secs().min(original.exp);
        // What a session may do counts from `nbf` on, and a token may be issued for the next second.
        let begins = match &passport.caller {
            Caller::Session(_) => original.nbf.unwrap_or_default(),
            _ => original.iat,
        };
        let iat = now.secs().max(begins);
        let claims = Claims {
            iss: self.config.issuer.clone(),
            sub: original.sub.clone(),
            aud: Audience::from(target.name.as_ref()),
            exp,
            iat,
            jti: TokenId::generate(self.epoch, self.node.entropy()).as_str().to_owned(),
            scope: scope_seen(&original.scope, kept, &target.sees),
            roles: roles_kept(original, kept)
                .filter(|role| target.sees.has_role(role))
                .map(str::to_owned)
                .collect(),
            // What they mean is for services to check (RFC 9396 §13). Where scopes are taken away, so is what
            // says more than they do.
            authorization_details: original
                .authorization_details
                .clone()
                .filter(|_| kept.is_none_or(|kept| kept.scopes.is_none()))
                .filter(|_| target.sees.scopes.is_none()),
            sid: original.sid.clone(),
            outlives_session: original.outlives_session,
            fid: original.fid.clone(),
            // A service may ask for more than its route does.
            acr: original.acr.clone(),
            auth_time: original.auth_time,
            status: original.status.clone(),
            act: original.act.clone(),
            may_act: original.may_act.clone(),
            // The first of all, also where a token is shown that was itself made from another.
            original_jti: original
                .original_jti
                .clone()
                .or_else(|| (!original.jti.is_empty()).then(|| original.jti.clone())),
            lineage: passport.caller.lineage(signer.kid().as_str(), iat),
            context: Some(Box::new(passport.context())),
            ..Claims::default()
        };
        let text = jws::signed(&signer, "tegata-internal+jwt", &claims.to_json())
            .await
            .map_err(|_| unavailable())?;
        let mut token = HeaderValue::try_from(text).map_err(|_| unavailable())?;
        token.set_sensitive(true);
        Ok(Minted { token, exp })
    }
}

impl Passport {
    fn new(
        caller: Caller,
        routing: &Routing,
        sees: Option<&Sees>,
        asked: Asked,
    ) -> Result<Self, Refused> {
        let (claims, kept) = (caller.claims(), asked.kept());
        let unfit = |_| Refusal::invalid_token("subject_unfit", "the subject cannot be named");
        let user = HeaderValue::from_str(&claims.sub).map_err(unfit)?;
        let roles: Vec<&str> = roles_named(claims, kept).collect();
        let scopes = claims.scope.values();
        let scopes = scopes.filter(|scope| kept.is_none_or(|kept| kept.has_scope(scope)));
        // INVARIANT: it is decided by all that counts, whatever of it the service is to see.
        let held = routing.recognise(roles.iter().copied(), scopes);
        let seen = roles.into_iter().filter(|role| sees.is_none_or(|sees| sees.has_role(role)));
        let roles = HeaderValue::try_from(seen.collect::<Vec<_>>().join(",")).map_err(unfit)?;
        let is_person = match &caller {
            // RFC 9068 §2.2: where no person is involved, the subject is the client.
            Caller::Foreign(_) => claims.client_id.as_ref() != Some(&claims.sub),
            Caller::Key(_) => false,
            Caller::Token(_) | Caller::Session(_) => claims.sub.starts_with("usr_"),
            Caller::Certificate(_) => false,
        };
        let kind = match &caller {
            Caller::Certificate(identity) => identity.kind,
            _ if is_person => PrincipalKind::User,
            _ => PrincipalKind::Client,
        };
        Ok(Self {
            kind,
            held,
            user,
            roles,
            caller,
            asked,
            internal: RefCell::default(),
            said: RefCell::default(),
        })
    }

    /// The roles and scopes that count, by name.
    pub(crate) fn rights(&self) -> (Vec<&str>, Vec<&str>) {
        let (claims, kept) = (self.caller.claims(), self.asked.kept());
        let scopes = claims.scope.values();
        let scopes = scopes.filter(|scope| kept.is_none_or(|kept| kept.has_scope(scope)));
        (roles_named(claims, kept).collect(), scopes.collect())
    }

    /// What limits are counted by that count by a claim: found once.
    pub(crate) fn claim(
        &self,
        name: &str,
        find: impl FnOnce() -> Option<[u8; 16]>,
    ) -> Option<[u8; 16]> {
        let known = self.said.borrow().iter().find(|(known, _)| known == name).map(|(_, it)| *it);
        known.unwrap_or_else(|| {
            let found = find();
            self.said.borrow_mut().push((name.to_owned(), found));
            found
        })
    }

    /// From where and on which device it is asked.
    fn context(&self) -> Context {
        let shown = match &self.caller {
            Caller::Certificate(identity) => Some(identity.thumbprint.clone()),
            caller => {
                let bound = caller.claims().cnf.as_ref();
                bound.and_then(|bound| bound.jkt.clone().or_else(|| bound.x5t.clone()))
            }
        };
        Context { ip: Some(self.asked.ip), device_id: shown }
    }

    /// Whether the token that the caller showed has ended since, or is about to: in the last third of its
    /// life, 30 s before at the earliest. A cookie has no such end.
    pub(crate) fn is_running_out(&self, now: Timestamp) -> bool {
        let claims = match &self.caller {
            Caller::Token(token) => token.claims(),
            Caller::Foreign(token) => token.claims(),
            Caller::Session(_) | Caller::Key(_) | Caller::Certificate(_) => return false,
        };
        let third = claims.exp.saturating_sub(claims.iat) / 3;
        claims.exp.saturating_sub(now.secs()) < third.min(RUNNING_OUT)
    }
}

/// The roles of a caller that count.
fn roles_kept<'c>(claims: &'c Claims, kept: Option<&'c Kept>) -> impl Iterator<Item = &'c str> {
    let roles = claims.roles.iter().map(String::as_str);
    roles.filter(move |role| kept.is_none_or(|kept| kept.has_role(role)))
}

/// The same by names: a role that could be read as two is none.
fn roles_named<'c>(claims: &'c Claims, kept: Option<&'c Kept>) -> impl Iterator<Item = &'c str> {
    roles_kept(claims, kept).filter(|role| RoleName::new(role).is_ok())
}

/// What of a scope counts, as far as the service is to see it.
fn scope_seen(scope: &Scope, kept: Option<&Kept>, sees: &Sees) -> Scope {
    if sees.scopes.is_none() && kept.is_none_or(|kept| kept.scopes.is_none()) {
        return scope.clone();
    }
    let values = scope.values().filter(|value| kept.is_none_or(|kept| kept.has_scope(value)));
    let values: Vec<_> = values.filter(|value| sees.has_scope(value)).collect();
    // Values of a scope are a scope.
    Scope::new(&values.join(" ")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
