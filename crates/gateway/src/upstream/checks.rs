//! Asks addresses again and again whether they are well, on a thread of its own: whoever checks is held
//! up by no request, and holds none up.

use std::{collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderValue, Request, header};
use tegata_mesh::reach::Health;
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Address, Balanced, Pool};
use crate::{
    body::{Progress, Upload},
    gate::Gates,
    timer::Deadlines,
};

/// Whoever checks the services of a gateway.
pub(crate) struct Checks {
    gate: Arc<Gates>,
    deadlines: Rc<Deadlines>,
}

impl Checks {
    pub(crate) fn new(gate: Arc<Gates>) -> Self {
        Self { gate, deadlines: Rc::default() }
    }

    /// Checks what it is told to, until it is told to stop.
    pub(crate) async fn run(
        self,
        mut told: watch::Receiver<Vec<Arc<Balanced>>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let checks = Rc::new(self);
        let mut under_way: HashMap<usize, (Arc<Balanced>, AbortHandle)> = HashMap::new();
        loop {
            let wanted = told.borrow_and_update().clone();
            // What is as it was goes on, and does not begin anew.
            under_way.retain(|_, (service, task)| {
                let stays = wanted.iter().any(|it| Arc::ptr_eq(it, service));
                if !stays {
                    task.abort();
                    // Nobody would ever find that an address is well again which nobody asks.
                    let checked = |address: &&Arc<Address>| {
                        let mut all = wanted.iter().flat_map(|it| it.addresses());
                        all.any(|it| Arc::ptr_eq(it, address))
                    };
                    let left = service.addresses().iter().filter(|address| !checked(address));
                    left.for_each(|address| address.standing.is_not_checked());
                }
                stays
            });
            for service in wanted {
                let place = Arc::as_ptr(&service).addr();
                under_way.entry(place).or_insert_with(|| {
                    let task = Rc::clone(&checks).service(Arc::clone(&service));
                    (service, tokio::task::spawn_local(task).abort_handle())
                });
            }
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn service(self: Rc<Self>, service: Arc<Balanced>) {
        let Some(health) = service.reach.health.clone() else { return };
        let health = Rc::new(health);
        // Ends them when it is ended itself.
        let mut addresses = JoinSet::new();
        for address in service.addresses() {
            let (checks, service) = (Rc::clone(&self), Arc::clone(&service));
            let (health, address) = (Rc::clone(&health), Arc::clone(address));
            addresses.spawn_local(async move { checks.address(&service, &address, &health).await });
        }
        while addresses.join_next().await.is_some() {}
    }

    async fn address(&self, service: &Balanced, address: &Address, health: &Health) {
        let mut ticks = interval(health.interval.duration());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let well = self.is_well(address, health, health.timeout.duration()).await;
            match address.standing.checked(well, health.healthy, health.unhealthy) {
                Some(true) => {
                    tracing::info!(service = &*service.name, upstream = %address.upstream,
                        "it is well again, and gets requests");
                    if let Some(breaker) = &service.breaker {
                        breaker.seen_again();
                    }
                }
                Some(false) => {
                    tracing::warn!(service = &*service.name, upstream = %address.upstream,
                        "it does not answer its checks, and gets no requests while another does");
                }
                None => {}
            }
        }
    }

    /// Asks once. What comes after the head of the answer is not read, however much it is.
    async fn is_well(&self, address: &Address, health: &Health, span: Duration) -> bool {
        let asked = async {
            self.deadlines.see(self.gate.node.since_boot());
            let services = Rc::new((*self.gate.now().ways.services).clone());
            let pool = Rc::new(Pool::new(address, &services, &self.deadlines));
            let progress = Rc::new(Progress::default());
            progress.ended.set(true);
            let now = self.gate.node.since_boot();
            // A connection of its own: that one is open says nothing about the next.
            let mut lease = pool.lease(&progress, now, true).await.ok()?;
            let mut request = Request::new(Upload::Empty);
            *request.uri_mut() = health.path.parse().ok()?;
            let agent = HeaderValue::from_static("tegata-health");
            request.headers_mut().insert(header::USER_AGENT, agent);
            lease.address(&mut request);
            let response = lease.send(request, span).await.ok()?;
            Some(response.status().is_success())
        };
        matches!(timeout(span, asked).await, Ok(Some(true)))
    }
}
