//! From a path to its route: the longest declared prefix, counted in whole segments.

use crate::{map::Route, path::NormalPath};

/// Finds routes. Built once from a map, and replaced as a whole when the map changes.
#[derive(Debug, Clone)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// The tree of segments; the first node is the root.
    nodes: Vec<Step>,
}

/// A node of the tree: which route ends here, and which segments lead on, sorted.
#[derive(Debug, Clone, Default)]
struct Step {
    route: Option<usize>,
    children: Vec<(Box<str>, usize)>,
}

/// A route and what is left of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'t, 'p> {
    /// The route's place in [`RouteTable::routes`], to look up what belongs to it.
    pub index: usize,
    /// The route.
    pub route: &'t Route,
    /// The path that the service is asked for. Normal, because it is the end of a normal path that
    /// begins at a slash.
    pub forwarded: &'p str,
}

impl RouteTable {
    /// A table of routes with different prefixes.
    pub(crate) fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut table = Self { routes: Vec::new(), nodes: vec![Step::default()] };
        for route in routes {
            let mut at = 0;
            for segment in route.path.split('/').filter(|segment| !segment.is_empty()) {
                at = table.step(at, segment);
            }
            if let Some(node) = table.nodes.get_mut(at) {
                node.route = Some(table.routes.len());
            }
            table.routes.push(route);
        }
        table
    }

    /// The node that `segment` leads to from the node `at`; made where there is none.
    fn step(&mut self, at: usize, segment: &str) -> usize {
        let made = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        match node.children.binary_search_by(|(name, _)| name.as_ref().cmp(segment)) {
            Ok(found) => node.children.get(found).map_or(at, |(_, child)| *child),
            Err(place) => {
                node.children.insert(place, (segment.into(), made));
                self.nodes.push(Step::default());
                made
            }
        }
    }

    /// The route with the longest prefix of `path`. Allocates nothing.
    #[must_use]
    pub fn find<'t, 'p>(&'t self, path: &'p NormalPath<'_>) -> Option<Match<'t, 'p>> {
        let mut node = self.nodes.first()?;
        let mut best = node.route;
        for segment in path.segments() {
            let child = node.children.binary_search_by(|(name, _)| name.as_ref().cmp(segment));
            let Some((_, next)) = child.ok().and_then(|found| node.children.get(found)) else {
                break;
            };
            node = self.nodes.get(*next)?;
            best = node.route.or(best);
        }
        let index = best?;
        let route = self.routes.get(index)?;
        Some(Match { index, route, forwarded: forwarded(route, path.as_str()) })
    }

    /// All routes, in the order of their prefixes.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn forwarded<'p>(route: &Route, path: &'p str) -> &'p str {
    if !route.strip_prefix || route.path == "/" {
        return path;
    }
    match path.strip_prefix(route.path.as_str()) {
        None | Some("") => "/",
        Some(rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        declared::{DeclaredRoute, DeclaredService},
        map::ServiceMap,
        path::Target,
    };

    fn table(routes: &[(&str, bool)]) -> RouteTable {
        let service = DeclaredService {
            name: "shop".to_owned(),
            upstreams: vec!["http://shop".to_owned()],
            ..DeclaredService::default()
        };
        let routes: Vec<DeclaredRoute> = routes
            .iter()
            .map(|(path, strip)| {
                serde_json::from_value(serde_json::json!({
                    "path": path, "service": "shop", "strip_prefix": strip,
                }))
                .unwrap()
            })
            .collect();
        ServiceMap::check(&[service], &routes).unwrap().table()
    }

    fn found(table: &RouteTable, path: &str) -> Option<(String, String)> {
        let target = Target::parse(path.as_bytes()).unwrap();
        table.find(target.path()).map(|hit| (hit.route.path.clone(), hit.forwarded.to_owned()))
    }

    #[test]
    fn the_longest_prefix_on_whole_segments_wins() {
        let table = table(&[("/orders", true), ("/orders/admin", true), ("/public/echo", false)]);
        for (path, expected) in [
            ("/orders", Some(("/orders", "/"))),
            ("/orders/", Some(("/orders", "/"))),
            ("/orders/1", Some(("/orders", "/1"))),
            ("/orders/orders", Some(("/orders", "/orders"))),
            ("/orders/admin", Some(("/orders/admin", "/"))),
            ("/orders/admin/x/", Some(("/orders/admin", "/x/"))),
            ("/orders/administrator", Some(("/orders", "/administrator"))),
            ("/%6frders/adm%69n", Some(("/orders/admin", "/"))),
            ("/public/echo/a", Some(("/public/echo", "/public/echo/a"))),
            ("/public", None),
            ("/public/echoes", None),
            ("/ordersx", None),
            ("/order", None),
            ("/ORDERS", None),
            ("/", None),
        ] {
            let expected = expected.map(|(a, b): (&str, &str)| (a.to_owned(), b.to_owned()));
            assert_eq!(found(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn the_root_catches_what_is_left_and_is_not_stripped() {
        let table = table(&[("/", true), ("/a/b", true)]);
        assert_eq!(found(&table, "/"), Some(("/".into(), "/".into())));
        assert_eq!(found(&table, "/a"), Some(("/".into(), "/a".into())));
        assert_eq!(found(&table, "/a/x"), Some(("/".into(), "/a/x".into())));
        assert_eq!(found(&table, "/a/b/c"), Some(("/a/b".into(), "/c".into())));
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let table = ServiceMap::default().table();
        assert_eq!(found(&table, "/x"), None);
    }

    proptest! {
        /// The tree answers as the definition does: of all prefixes that end at a segment's end,
        /// the longest. And what is forwarded needs no second normalisation.
        #[test]
        fn agrees_with_the_definition(
            prefixes in proptest::collection::btree_set("(/[abx]{1,2}){1,3}", 1..12),
            path in "(/[abx]{1,2}){0,5}/?",
        ) {
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let routes: Vec<(&str, bool)> = prefixes.iter().map(|p| (p.as_str(), true)).collect();
            let table = table(&routes);
            let expected = prefixes.iter()
                .filter(|p| path == **p || path.starts_with(&format!("{p}/")))
                .max_by_key(|p| p.len());
            let hit = found(&table, &path);
            prop_assert_eq!(hit.as_ref().map(|(prefix, _)| prefix), expected);
            if let Some((_, forwarded)) = hit {
                let again = Target::parse(forwarded.as_bytes()).unwrap();
                prop_assert_eq!(again.path().as_str(), forwarded.as_str());
            }
        }
    }
}
