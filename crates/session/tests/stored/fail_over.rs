//! Servers of Redis that die and are replaced, while people use their sessions.

use std::sync::Arc;

use tegata_engines::{RedisCluster, RedisSentinels};
use tegata_session::{Reason, SessionRefused, Verdict};
use tegata_store::RedisConfig;

use super::{
    stores::{Store, open_redis},
    world::World,
};

/// People on two nodes that find Redis at this address: some of them are signed in, and one has signed out.
struct People {
    nodes: [World; 2],
    signed_in: Vec<String>,
    signed_out: String,
}

impl People {
    async fn on(redis: &str) -> Self {
        let world = Store::Postgresql.world().await;
        let mut nodes = Vec::new();
        for seed in [5, 6] {
            // As patient as an installation is by default.
            let own = open_redis(redis, RedisConfig::default(), world.clock.clone()).await;
            nodes.push(world.beside(world.records.clone(), own, seed));
        }
        let nodes: [World; 2] = nodes.try_into().unwrap_or_else(|_| panic!("there are two"));
        let mut signed_in = Vec::new();
        for person in 0..8 {
            let begun = nodes[person % 2].sign_in(&format!("usr_{person}")).await;
            signed_in.push(begun.cookie.expose().clone());
        }
        let leaving = nodes[0].sign_in("usr_leaves").await;
        let (realm, sid) = (&nodes[0].realm, &leaving.session.id);
        let ended = nodes[0].sessions.end(realm, sid, &Reason::Logout, "usr_leaves").await;
        assert!(ended.unwrap());
        Self { nodes, signed_in, signed_out: leaving.cookie.expose().clone() }
    }

    /// Everybody loads a page, on either node. Answers how many were told to come later: whoever is signed in
    /// is never refused, and whoever has signed out never served.
    async fn load(&mut self) -> usize {
        let mut later = 0;
        for (person, cookie) in self.signed_in.iter_mut().enumerate() {
            for node in &self.nodes {
                match node.present(cookie).await {
                    Ok(passage) => {
                        assert_eq!(passage.session.user.as_str(), format!("usr_{person}"));
                        if let Some(next) = passage.cookie {
                            next.expose().clone_into(cookie);
                        }
                    }
                    Err(SessionRefused::Store(_)) => later += 1,
                    Err(SessionRefused::Verdict(verdict)) => panic!("usr_{person}: {verdict}"),
                }
            }
        }
        for node in &self.nodes {
            match node.present(&self.signed_out).await {
                Err(SessionRefused::Store(_)) => later += 1,
                Err(SessionRefused::Verdict(verdict)) => assert_eq!(verdict, Verdict::Ended),
                Ok(_) => panic!("whoever has signed out is served"),
            }
        }
        later
    }

    /// Loads pages while something happens, and half an hour's worth of rotations.
    async fn meanwhile(mut self, happens: impl FnOnce() + Send + 'static) {
        assert_eq!(self.load().await, 0, "all is well");
        let happening = tokio::task::spawn_blocking(happens);
        for _ in 0..6 {
            self.nodes[0].advance(300);
            self.load().await;
        }
        while !happening.is_finished() {
            self.load().await;
        }
        happening.await.unwrap();
        // Another one answers by now, and has less than the one before: nobody was signed out by it.
        for _ in 0..6 {
            self.nodes[0].advance(300);
            self.load().await;
        }
        assert_eq!(self.load().await, 0, "all is well again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_out_nor_comes_back_while_sentinels_replace_the_primary() {
    let redis = Arc::new(RedisSentinels::start());
    let people = People::on(&redis.url()).await;
    let breaks = redis.clone();
    people.meanwhile(move || breaks.fail_over()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_signed_out_nor_comes_back_while_a_primary_of_a_cluster_is_replaced() {
    let redis = Arc::new(RedisCluster::start());
    let people = People::on(&redis.url()).await;
    let breaks = redis.clone();
    people.meanwhile(move || breaks.fail_over(&breaks.nodes()[0])).await;
}
