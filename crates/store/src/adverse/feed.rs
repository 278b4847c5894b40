//! `Feed`, adverse: messages take ways of different length, so they overtake each other, and some
//! arrive twice.

use tegata_core::{
    Feed, StoreError, Subscription,
    port::{BoxFuture, Message, Topic},
};

use super::{Adverse, draw, hold_up};

/// How much longer than a call a message may be held up.
const FURTHER: u32 = 8;

impl<P: Feed + ?Sized + 'static> Feed for Adverse<P> {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            message.name()?;
            self.call().await?;
            let (inner, chance, mischief) =
                (self.inner.clone(), self.chance.clone(), self.mischief);
            tokio::spawn(async move {
                let again = draw(&chance, 1000) < mischief.repeat;
                for _ in 0..=u32::from(again) {
                    hold_up(&chance, mischief.delay.saturating_mul(FURTHER)).await;
                    // A feed may lose what it was given.
                    let _lost = inner.publish(message.clone()).await;
                }
            });
            Ok(())
        })
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(self.read(move || self.inner.subscribe(topic)))
    }

    fn outage(&self) -> Option<String> {
        self.inner.outage()
    }
}
