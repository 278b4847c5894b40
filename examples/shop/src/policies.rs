//! The policies of the shop, as the files are that stand in `examples/shop/policies`.

/// The files, by their names.
pub const FILES: [(&str, &str); 6] = [
    ("accounts.cedar", include_str!("../policies/accounts.cedar")),
    ("goods.cedar", include_str!("../policies/goods.cedar")),
    ("orders.cedar", include_str!("../policies/orders.cedar")),
    ("orders.cedarschema", include_str!("../policies/orders.cedarschema")),
    ("orders.test.toml", include_str!("../policies/orders.test.toml")),
    ("shop.test.toml", include_str!("../policies/shop.test.toml")),
];
