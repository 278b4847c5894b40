//! Who may speak for whom, and where: what was declared, and what follows from it for one exchange.
//!
//! Without a declaration, whoever is among the `callers` of a service acts there for whoever's token it
//! holds, and is named as the actor. A delegation that names an actor and a service decides about the
//! two in place of that; a service can ask that there is one. Nobody acts in another's place, names no
//! actor, or has transaction tokens, unless a delegation says so.

use tegata_token::{Claims, Scope};

/// A delegation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delegation {
    /// Who acts.
    pub actor: String,
    /// Who else may exchange with the actor's token.
    pub through: Vec<String>,
    /// At which services.
    pub targets: Vec<String>,
    /// Whether the actor gets transaction tokens.
    pub transactions: bool,
    /// For people with one of these roles.
    pub roles: Vec<String>,
    /// For these clients. With neither roles nor clients: for everybody.
    pub clients: Vec<String>,
    /// The scope at most.
    pub scope: Option<Scope>,
    /// How many actors may be named at most.
    pub most_actors: Option<usize>,
    /// Whether no actor is named.
    pub impersonate: bool,
}

/// What a token would be for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// Calling a service, whose callers may act for others, or may not.
    Service(&'a str, Callers),
    /// A transaction.
    Transaction,
}

/// What the callers of a service may do without a delegation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// Act for others.
    MayAct,
    /// Nothing.
    NeedDelegation,
}

/// A case to decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    /// Who asks.
    pub(crate) client: &'a str,
    /// Who would act.
    pub(crate) actor: &'a str,
    /// Whether the actor showed a token, and so is to be named.
    pub(crate) shown: bool,
    /// How many actors, or workloads, there are with this one.
    pub(crate) chain: usize,
    /// For whom.
    pub(crate) subject: &'a Claims,
    /// What for.
    pub(crate) purpose: Purpose<'a>,
}

/// What an exchange may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mandate {
    /// Whether the actor is named.
    pub(crate) names_actor: bool,
    /// The scope at most.
    pub(crate) scope: Option<Scope>,
    /// How many actors may be named at most.
    pub(crate) most_actors: Option<usize>,
}

/// No delegation covers a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotDelegated;

impl Case<'_> {
    /// What the delegations of the actor, which are these, say of the case.
    ///
    /// # Errors
    /// [`NotDelegated`].
    pub(crate) fn decide(&self, delegations: &[Delegation]) -> Result<Mandate, NotDelegated> {
        let in_person = self.actor == self.client;
        let named: Vec<_> = delegations
            .iter()
            .filter(|it| it.actor == self.actor && it.covers(&self.purpose))
            .filter(|it| in_person || it.through.iter().any(|client| client == self.client))
            .collect();
        if named.is_empty()
            && in_person
            && matches!(self.purpose, Purpose::Service(_, Callers::MayAct))
        {
            return Ok(Mandate { names_actor: true, scope: None, most_actors: None });
        }
        let fit: Vec<_> = named.into_iter().filter(|it| it.is_for(self.subject)).collect();
        let naming: Vec<_> = fit.iter().filter(|it| !it.impersonate).copied().collect();
        // Where some allow to act and others to impersonate, the actor is named.
        let names_actor = self.shown || !naming.is_empty();
        let used = if naming.is_empty() { fit } else { naming };
        if used.is_empty() {
            return Err(NotDelegated);
        }
        let most_actors = used.iter().map(|it| it.most_actors).collect::<Option<Vec<_>>>();
        // One that ends before this actor lends the others nothing.
        let reaches = |it: &&Delegation| it.most_actors.is_none_or(|most| self.chain <= most);
        let reaching: Vec<_> = used.into_iter().filter(reaches).collect();
        Ok(Mandate {
            names_actor,
            scope: widest(&reaching),
            most_actors: most_actors.and_then(|all| all.into_iter().max()),
        })
    }
}

impl Delegation {
    fn covers(&self, purpose: &Purpose<'_>) -> bool {
        match purpose {
            Purpose::Service(name, _) => self.targets.iter().any(|target| target == name),
            Purpose::Transaction => self.transactions,
        }
    }

    fn is_for(&self, subject: &Claims) -> bool {
        if self.roles.is_empty() && self.clients.is_empty() {
            return true;
        }
        if subject.sub.starts_with("usr_") {
            return subject.roles.iter().any(|role| self.roles.contains(role));
        }
        self.clients.contains(&subject.sub)
    }
}

/// What one of these allows; nothing is said where one says nothing.
fn widest(delegations: &[&Delegation]) -> Option<Scope> {
    let scopes: Vec<_> =
        delegations.iter().map(|it| it.scope.as_ref()).collect::<Option<Vec<_>>>()?;
    let all: Vec<_> = scopes.iter().flat_map(|scope| scope.values()).collect();
    // Values of scopes are a scope, unless there are very many; then none is better than all.
    Some(Scope::new(&all.join(" ")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Delegation {
        Delegation {
            actor: "orders".into(),
            targets: vec!["payments".into()],
            ..Delegation::default()
        }
    }

    fn person(role: &str) -> Claims {
        Claims { sub: "usr_1".into(), roles: vec![role.into()], ..Claims::default() }
    }

    fn case<'a>(subject: &'a Claims, callers: Callers) -> Case<'a> {
        Case {
            client: "orders",
            actor: "orders",
            shown: false,
            chain: 1,
            subject,
            purpose: Purpose::Service("payments", callers),
        }
    }

    const PLAIN: Mandate = Mandate { names_actor: true, scope: None, most_actors: None };

    #[test]
    fn without_a_declaration_callers_act_unless_the_service_asks_for_one() {
        let alice = person("customer");
        assert_eq!(case(&alice, Callers::MayAct).decide(&[]), Ok(PLAIN));
        assert_eq!(case(&alice, Callers::NeedDelegation).decide(&[]), Err(NotDelegated));
        assert_eq!(case(&alice, Callers::NeedDelegation).decide(&[orders()]), Ok(PLAIN));
        // One for another service says nothing of this one.
        let elsewhere = Delegation { targets: vec!["stock".into()], ..orders() };
        let elsewhere = [elsewhere];
        assert_eq!(case(&alice, Callers::MayAct).decide(&elsewhere), Ok(PLAIN));
        assert_eq!(case(&alice, Callers::NeedDelegation).decide(&elsewhere), Err(NotDelegated));
    }

    #[test]
    fn what_is_declared_of_an_actor_and_a_service_is_all_that_counts_of_them() {
        let declared = [Delegation { roles: vec!["customer".into()], ..orders() }];
        assert!(case(&person("customer"), Callers::MayAct).decide(&declared).is_ok());
        assert_eq!(case(&person("admin"), Callers::MayAct).decide(&declared), Err(NotDelegated));
        let machine = Claims { sub: "batch".into(), ..Claims::default() };
        assert_eq!(case(&machine, Callers::MayAct).decide(&declared), Err(NotDelegated));
        let declared = [Delegation { clients: vec!["batch".into()], ..orders() }];
        assert!(case(&machine, Callers::MayAct).decide(&declared).is_ok());
        // A client of a role's name is no person who has it.
        let declared = [Delegation { roles: vec!["batch".into()], ..orders() }];
        let roles = vec!["batch".into()];
        assert!(case(&Claims { roles, ..machine }, Callers::MayAct).decide(&declared).is_err());
    }

    #[test]
    fn nobody_acts_in_anothers_place_without_a_delegation() {
        let alice = person("customer");
        let foreign = Case { client: "batch", shown: true, ..case(&alice, Callers::MayAct) };
        assert_eq!(foreign.decide(&[]), Err(NotDelegated));
        assert_eq!(foreign.decide(&[orders()]), Err(NotDelegated));
        let through = Delegation { through: vec!["batch".into()], ..orders() };
        assert_eq!(foreign.decide(std::slice::from_ref(&through)), Ok(PLAIN));
        let other = Case { client: "other", ..foreign };
        assert_eq!(other.decide(std::slice::from_ref(&through)), Err(NotDelegated));
        // What others may do through an actor's token does not take from the actor what it may do.
        assert_eq!(case(&alice, Callers::MayAct).decide(&[through]), Ok(PLAIN));
    }

    #[test]
    fn the_actor_is_named_unless_every_delegation_that_fits_says_otherwise() {
        let alice = person("customer");
        let roles = vec!["customer".into()];
        let silent = Delegation { impersonate: true, roles: roles.clone(), ..orders() };
        let impersonates = case(&alice, Callers::MayAct).decide(std::slice::from_ref(&silent));
        assert!(!impersonates.unwrap().names_actor);
        let both = [silent.clone(), Delegation { roles, ..orders() }];
        assert!(case(&alice, Callers::MayAct).decide(&both).unwrap().names_actor);
        let shown = Case { shown: true, ..case(&alice, Callers::MayAct) };
        assert!(shown.decide(&[silent]).unwrap().names_actor);
    }

    #[test]
    fn several_that_fit_allow_what_one_of_them_allows() {
        let alice = person("customer");
        let with = |scope: Option<&str>, most_actors| Delegation {
            scope: scope.map(|scope| Scope::new(scope).unwrap()),
            most_actors,
            ..orders()
        };
        let two = [with(Some("payments.read"), Some(1)), with(Some("payments.write"), Some(2))];
        let mandate = case(&alice, Callers::MayAct).decide(&two).unwrap();
        assert_eq!(mandate.scope.unwrap().as_str(), "payments.read payments.write");
        assert_eq!(mandate.most_actors, Some(2));
        // The second actor of a chain may do what one says that reaches so far, and no more.
        let second = Case { chain: 2, ..case(&alice, Callers::MayAct) }.decide(&two).unwrap();
        assert_eq!(second.scope.unwrap().as_str(), "payments.write");
        let wide = [with(Some("payments.read"), Some(1)), with(None, None)];
        assert_eq!(case(&alice, Callers::MayAct).decide(&wide), Ok(PLAIN));
        let none = case(&alice, Callers::MayAct).decide(&[with(Some(""), None)]).unwrap();
        assert_eq!(none.scope, Some(Scope::default()));
    }

    #[test]
    fn transactions_are_never_had_without_a_delegation() {
        let alice = person("customer");
        let purpose = Purpose::Transaction;
        let asked = Case { purpose, ..case(&alice, Callers::MayAct) };
        assert_eq!(asked.decide(&[]), Err(NotDelegated));
        assert_eq!(asked.decide(&[orders()]), Err(NotDelegated));
        assert!(asked.decide(&[Delegation { transactions: true, ..orders() }]).is_ok());
    }
}
