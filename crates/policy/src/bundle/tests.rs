use super::*;

const SCHEMA: &str = r#"
entity Group in [Group];
entity Person in [Group] { level: Long, "home"?: { city: String } };
entity Paper { owner: Person, tags: Set<String> };
action "view", "edit" appliesTo { principal: [Person], resource: [Paper], context: { ip?: ipaddr } };
"#;

fn read(policies: &str) -> Result<Bundle, InvalidBundle> {
    Bundle::read([("own.cedarschema", SCHEMA)], [("some.cedar", policies)])
}

fn faults(policies: &str) -> Vec<String> {
    read(policies).unwrap_err().faults.iter().map(ToString::to_string).collect()
}

/// The only fault.
#[track_caller]
fn fault(policies: &str) -> Fault {
    let mut faults = read(policies).unwrap_err().faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[track_caller]
fn schema_fault(schema: &str) -> Fault {
    let found = Bundle::read([("own.cedarschema", schema)], []).unwrap_err();
    assert_eq!(found.faults.len(), 1, "{found}");
    found.faults.into_iter().next().unwrap()
}

#[test]
fn names_every_policy_with_its_place() {
    let text = "// first\npermit (principal, action, resource);\n\n  @id(\"no-debts\")\n@reason(\"pay first\")\nforbid (principal in Tegata::Role::\"debtor\", action, resource);";
    let bundle = Bundle::read([], [("b.cedar", text), ("a.cedar", "")]).unwrap();
    let [first, second] = bundle.policies() else { panic!() };
    assert_eq!((first.id.as_str(), first.effect, first.line), ("b.cedar:2", Effect::Permit, 2));
    assert_eq!((second.id.as_str(), second.effect, second.line), ("no-debts", Effect::Forbid, 4));
    assert_eq!(second.annotations["reason"], "pay first");
    assert_eq!(bundle.policy("no-debts"), Some(second));
    assert_eq!(bundle.policy("no"), None);
    assert_eq!(
        serde_json::to_value(second).unwrap(),
        serde_json::json!({
            "id": "no-debts",
            "effect": "forbid",
            "file": "b.cedar",
            "line": 4,
            "annotations": {"reason": "pay first"},
        })
    );
}

#[test]
fn the_digest_tells_what_was_read_and_not_in_which_order() {
    let digest = |schema: &[(&str, &str)], policies: &[(&str, &str)]| {
        Bundle::read(schema.iter().copied(), policies.iter().copied()).unwrap().digest()
    };
    let (a, b) = (("a", "permit (principal, action, resource);"), ("b", "// nothing"));
    assert_eq!(digest(&[], &[a, b]), digest(&[], &[b, a]));
    let others = [
        digest(&[], &[a]),
        digest(&[], &[a, ("c", b.1)]),
        digest(&[], &[a, ("b", "// nothing ")]),
        digest(&[("a", "")], &[a, b]),
        digest(&[("a", "entity X;")], &[a, b]),
    ];
    for other in others {
        assert_ne!(other, digest(&[], &[a, b]));
    }
}

#[test]
fn a_bundle_that_does_not_fit_its_schema_is_not_loaded() {
    for (policy, place, what) in [
        // Types, attributes and actions that nobody declared.
        ("permit (principal == Nobody::\"x\", action, resource);", (1, 22), "Nobody"),
        ("permit (principal, action == Action::\"shred\", resource);", (1, 30), "shred"),
        (
            "permit (principal is Person, action == Action::\"view\", resource) when { principal.age > 3 };",
            (1, 73),
            "age",
        ),
        // One that may be missing, asked without `has`.
        (
            "permit (principal is Person, action == Action::\"view\", resource) when { principal.home.city == \"Kyoto\" };",
            (1, 73),
            "home",
        ),
        (
            "forbid (principal, action == Tegata::Action::\"GET\", resource) when { context.acr == \"aal1\" };",
            (1, 70),
            "acr",
        ),
        // Values of the wrong type.
        (
            "permit (principal is Person, action == Action::\"view\", resource) when { principal.level == \"3\" };",
            (1, 73),
            "compatible",
        ),
        (
            "permit (principal is Person, action == Action::\"view\", resource) when { principal.level like \"3\" };",
            (1, 73),
            "expected",
        ),
        (
            "permit (principal is Person, action == Action::\"view\", resource) when { ip(\"300.1.1.1\").isLoopback() };",
            (1, 73),
            "300",
        ),
        // What can never match.
        (
            "forbid (principal is Tegata::Anonymous, action == Action::\"view\", resource);",
            (1, 1),
            "",
        ),
        (
            "forbid (principal is Person, action == Action::\"view\", resource) when { 1 == 2 };",
            (1, 1),
            "",
        ),
        ("permit (principal == Tegata::Anonymous::\"root\", action, resource);", (1, 22), "root"),
    ] {
        let fault = fault(policy);
        assert!(fault.what.contains(what), "{policy}: {fault}");
        assert_eq!((fault.line, fault.column), place, "{policy}: {fault}");
        assert!(!fault.what.contains('\n'), "{fault}");
    }
}

#[test]
fn says_everything_that_is_wrong_and_where() {
    let text = "permit (principal, action, resource);\n\n\npermit (principl, action, resource);\n  forbid (principal, action, resource) when { a b };\n";
    let found = faults(text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("some.cedar:4:9: "), "{found:#?}");
    assert!(found[1].starts_with("some.cedar:5:49: "), "{found:#?}");

    let (one, two) = ("permit (principal, action, resource", "forbid (");
    let found = Bundle::read([], [("b", one), ("a", two)]).unwrap_err();
    assert_eq!(
        found.faults.iter().map(|fault| fault.file.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
}

#[test]
fn tells_a_hundred_faults_and_no_more() {
    let found = read(&"permit (x, action, resource);\n".repeat(10_000)).unwrap_err();
    assert_eq!(found.faults.len(), InvalidBundle::SHOWN);
}

#[test]
fn two_policies_have_two_names() {
    let twice = "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);";
    let fault = fault(twice);
    assert_eq!((fault.line, fault.column), (2, 1));
    assert!(fault.what.contains("some.cedar:1"), "{fault}");
    // In two files, under one name of a file, and on one line.
    let policy = "@id(\"a\") permit (principal, action, resource);";
    Bundle::read([], [("a", policy), ("b", policy)]).unwrap_err();
    Bundle::read([], [("a", ""), ("a", "")]).unwrap_err();
    read("permit (principal, action, resource); forbid (principal, action, resource);")
        .unwrap_err();
    // As another policy is named by its place.
    read("permit (principal, action, resource);\n@id(\"some.cedar:1\") forbid (principal, action, resource);").unwrap_err();
    for name in ["", "a\\nb", "\\u{1b}[2J", &"x".repeat(257)] {
        assert!(fault_of_name(name).what.contains("name"), "{name}");
    }
}

fn fault_of_name(name: &str) -> Fault {
    fault(&format!("@id(\"{name}\") permit (principal, action, resource);"))
}

#[test]
fn a_template_is_no_policy() {
    for text in [
        "permit (principal == ?principal, action, resource);",
        "permit (principal, action, resource in ?resource);",
    ] {
        assert!(fault(text).what.contains("template"), "{}", fault(text));
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    for text in [
        "permit",
        ";",
        "permit (principal, action, resource)",
        "permit (principal, action, resource) when { true } permit (principal, action, resource);",
        "@id(\"a\")",
        "permit (principal, action, resource) when { \"",
        "permit (principal, action, resource) when { \"\\u{202e}\u{202e}\" == \"\" };",
        "\u{feff}permit (principal, action, resource);",
        "/* permit */",
        "permit (principal, action, resource) when { error() };",
        "permit (principal, action, resource) when { unknown(\"x\") };",
        "permit (principal, action, resource) when { 9223372036854775808 > 1 };",
        "permit (principal, action, resource) when { principal == __cedar::User::\"x\" };",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn ten_megabytes_are_refused_before_they_are_read() {
    let large = "permit (principal, action, resource);\n".repeat(10 << 20 >> 5);
    assert!(large.len() > 10 << 20);
    let found = fault(&large);
    assert!(found.what.contains("bytes"), "{found}");
    let many = "permit (principal, action, resource);\n".repeat(Bundle::POLICIES + 1);
    assert!(fault(&many).what.contains("10000 policies"));
}

#[test]
fn a_deeply_nested_policy_is_refused_and_not_a_stack_overflow() {
    let n = 10_000;
    let conditions = [
        format!("{}true{}", "(".repeat(n), ")".repeat(n)),
        "(".repeat(n),
        "[".repeat(n),
        "{a:".repeat(n),
        format!("{}true", "!".repeat(n)),
        format!("true{}", " && true".repeat(n)),
        format!("1{} > 0", " + 1".repeat(n)),
        format!("context{} == 1", ".a".repeat(n)),
        format!("context{} == 1", "[\"a\"]".repeat(n)),
        format!("{}1 == 1", "if true then true else ".repeat(n)),
        format!("{}1{}", "ip(".repeat(n), ")".repeat(n)),
    ];
    for condition in &conditions {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        let found = read(&text).unwrap_err();
        assert!(!found.faults.is_empty(), "{condition:.40}");
    }
    let clauses = format!("permit (principal, action, resource) {};", "when { true } ".repeat(n));
    assert!(fault(&clauses).what.contains("nests"));
    for schema in [
        format!("type A = {}Long{};", "Set<".repeat(n), ">".repeat(n)),
        format!("type A = {}Long{};", "{a: ".repeat(n), "}".repeat(n)),
        format!("entity A in {}", "[".repeat(n)),
    ] {
        schema_fault(&schema);
    }
}

#[test]
fn what_nests_as_deep_as_it_may_can_be_asked_on_the_stack_of_a_worker() {
    let terms = |n: usize| format!("true{}", " && context.method != \"x\"".repeat(n));
    let deepest = (1..200).rev().find_map(|n| {
        let text = format!(
            "permit (principal, action == Tegata::Action::\"GET\", resource) when {{ {} }};",
            terms(n)
        );
        Bundle::read([], [("deep.cedar", text.as_str())]).ok().map(|bundle| (n, bundle))
    });
    let (terms, bundle) = deepest.unwrap();
    assert!(terms > 100, "{terms}");
    let mut brackets = (1..200).rev().filter_map(|n| {
        let (open, close) = ("(".repeat(n), ")".repeat(n));
        let text = format!("permit (principal, action == Tegata::Action::\"GET\", resource) when {{ {open}context.method != \"x\"{close} }};");
        Bundle::read([], [("deep.cedar", text.as_str())]).ok()
    });
    let brackets = brackets.next().unwrap();
    let negations = (1..200).rev().find_map(|n| {
        let text = format!("permit (principal, action == Tegata::Action::\"GET\", resource) when {{ {}(context.method == \"x\") }};", "!(".repeat(n) + &")".repeat(n));
        Bundle::read([], [("deep.cedar", text.as_str())]).ok()
    });
    drop(negations);
    for bundle in [bundle, brackets] {
        let bundle = Arc::new(bundle);
        let asked = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            let mut rules = crate::Rules::default();
            let decide_by = crate::DecideBy::Policies;
            rules.permit("s", "/", crate::Requirement { decide_by, ..Default::default() });
            rules.bundle(bundle);
            let set = crate::PolicySet::compile(rules).unwrap();
            let held = set.recognise([], []);
            let kind = crate::PrincipalKind::User;
            let principal = crate::Principal {
                kind,
                id: "u",
                held: &held,
                acr: None,
                auth_age: None,
                place: None,
            };
            let action = crate::Action { method: "GET", path: "/" };
            set.route("s", "/").unwrap().decide(&principal, action).reason()
        });
        assert_eq!(asked.unwrap().join().unwrap(), None);
    }
}

#[test]
fn a_schema_that_says_nothing_usable_is_refused() {
    for (schema, what) in [
        ("entity User in [Nothing];", "Nothing"),
        ("entity", ""),
        ("namespace Tegata { entity More; }", "Tegata"),
        ("namespace Tegata::More { entity More; }", "Tegata"),
        ("type A = B; type B = A; entity X { a: A };", "types"),
        ("entity X { a: Long } tags String;", "tags"),
        ("entity X; entity X;", "X"),
        ("entity User;", "namespace"),
        ("entity X; action \"GET\" appliesTo { principal: [X], resource: [X] };", "namespace"),
        ("entity X { a: Set<Nothing> };", "Nothing"),
    ] {
        let fault = schema_fault(schema);
        assert!(fault.to_string().contains(what), "{schema}: {fault}");
    }
    let second =
        Bundle::read([("a", "entity A in [B];"), ("b", "entity B;\n\nentity C in [Z];")], []);
    let fault = second.unwrap_err().faults.remove(0);
    assert_eq!((fault.file.as_str(), fault.line), ("b", 3), "{fault}");
    Bundle::read([("a", "entity A in [B]; // the end"), ("b", "entity B;")], []).unwrap();
}

#[test]
fn names_that_double_with_every_line_do_not_fill_memory() {
    let mut schema = "type T0 = { a: Long, b: Long };\n".to_owned();
    for n in 1..60 {
        schema += &format!("type T{n} = {{ a: T{}, b: T{} }};\n", n - 1, n - 1);
    }
    schema += "entity X { a: T59 };";
    assert!(schema_fault(&schema).what.contains("types"));
}

#[test]
fn combinations_are_bounded() {
    let names: Vec<String> = (0..100).map(|n| format!("E{n}")).collect();
    let mut schema: String = names.iter().map(|name| format!("entity {name};\n")).collect();
    let all = names.join(", ");
    schema += &format!("action \"a\" appliesTo {{ principal: [{all}], resource: [{all}] }};");
    assert!(schema_fault(&schema).what.contains("combinations"));
}

#[test]
fn a_bundle_cut_anywhere_is_read_as_less_or_refused_and_never_panics() {
    let text = "@id(\"one\") permit (principal in Tegata::Role::\"a\", action, resource);\n@id(\"two\") forbid (principal, action in [Tegata::Action::\"unsafe\"], resource) unless { context has acr && context.acr == \"aal2\" }; // \u{6f22}\u{5b57}\n";
    let whole = read(text).unwrap();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        if let Ok(less) = read(&text[..end]) {
            let kept = less.policies().len();
            assert_eq!(less.policies(), &whole.policies()[..kept]);
            assert!(less.policies().iter().all(|policy| policy.text.ends_with(';')));
        }
    }
}

/// The blocks of the page about policies that are in a language.
fn examples(language: &str) -> Vec<&'static str> {
    let page = include_str!("../../../../docs/policies.md");
    let blocks = page.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

#[test]
fn the_examples_of_the_page_are_policies() {
    let (policies, schemas) = (examples("cedar"), examples("cedarschema"));
    assert!(!policies.is_empty() && !schemas.is_empty());
    for (schema, policy) in policies
        .iter()
        .map(|policy| ("", *policy))
        .chain(schemas.iter().map(|schema| (*schema, "")))
    {
        Bundle::read([("page.cedarschema", schema)], [("page.cedar", policy)])
            .unwrap_or_else(|found| panic!("{found}"));
    }
}

#[test]
fn the_page_has_every_word() {
    let page = include_str!("../../../../docs/policies.md");
    for method in crate::method::METHODS {
        assert!(page.contains(&format!("`{method}`")) || method == "other", "{method}");
    }
    let words = Bundle::read([], []).unwrap().words;
    for name in words
        .schema
        .entity_types()
        .map(ToString::to_string)
        .filter(|name| !name.ends_with("Action"))
    {
        assert!(page.contains(&format!("`{name}::\"")), "{name}");
    }
    let place = crate::method::place("GET");
    for name in words.method(place).unwrap().context.keys() {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    for reason in
        crate::ReasonId::ALL.into_iter().filter(|reason| *reason >= crate::ReasonId::PolicyForbids)
    {
        assert!(page.contains(&format!("`{reason}`")), "{reason}");
    }
}
