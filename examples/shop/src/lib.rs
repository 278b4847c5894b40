//! Ten small services behind the gateway: the demo, and how a service uses Tegata.
//!
//! Each service is a router made by a function of its [`service::Parts`], keeps its data in memory,
//! and trusts tokens alone. Behind the gateway a service `orders` is reached under `/orders/…`,
//! with the prefix taken off.
//!
//! | module | serves | calls |
//! |---|---|---|
//! | [`catalogue`] | what is sold, open to everybody; in GraphQL, too ([`graph`]) | |
//! | [`users`] | profiles and addresses | |
//! | [`carts`] | what a person is about to buy | `catalogue` |
//! | [`orders`] | placing orders, all of it or nothing | `catalogue` `carts` `users` `inventory` `payments` `shipping` `notifications` |
//! | [`inventory`] | stock and reservations | |
//! | [`payments`] | payments and refunds, each once | |
//! | [`shipping`] | parcels and where they are | `notifications` |
//! | [`notifications`] | what a person has been told | |
//! | [`preferences`] | how a person likes to see the shop | |
//! | [`reviews`] | what buyers think | `orders` |
//! | [`recommendations`] | what else a person may like | `orders` `catalogue` |
//! | [`storefront`] | the page that people shop with, at `/shop/` | |
//! | [`echo`] | the request itself, for tests of the gateway | |
//! | [`partner`] | tokens of another company, beside the platform and not behind the gateway | |
//!
//! [`shop`] starts them, [`registry`] says what the platform must know of them, and [`policies`] what
//! decides beside the routes.

pub mod carts;
pub mod catalogue;
pub mod echo;
pub mod graph;
pub mod inventory;
pub mod notifications;
pub mod orders;
pub mod partner;
pub mod payments;
pub mod policies;
pub mod preferences;
pub mod recommendations;
pub mod registry;
pub mod reviews;
pub mod service;
pub mod shipping;
pub mod shop;
pub mod storefront;
pub mod users;

mod page;
mod request;
mod seed;

pub use registry::Registry;
pub use shop::{Shop, ShopConfig, ShopHandle};
