//! What the shop sells when it opens.

/// A product and how many there are.
pub(crate) struct Seed {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    pub(crate) category: &'static str,
    pub(crate) price_cents: u64,
    pub(crate) stock: u32,
}

const fn seed(
    id: &'static str,
    name: &'static str,
    category: &'static str,
    price_cents: u64,
    stock: u32,
) -> Seed {
    Seed { id, name, category, price_cents, stock }
}

/// The products.
pub(crate) const SEEDS: &[Seed] = &[
    seed("map-tokaido", "Map of the Tōkaidō, 53 stations", "maps", 4_800, 40),
    seed("map-nakasendo", "Map of the Nakasendō, 69 stations", "maps", 5_200, 40),
    seed("map-pilgrim", "Pilgrims' map of Shikoku", "maps", 3_900, 25),
    seed("map-harbours", "Harbours of the inland sea", "maps", 2_700, 10),
    seed("hat-sedge", "Sedge hat", "clothing", 3_200, 120),
    seed("coat-paper", "Oiled paper raincoat", "clothing", 6_900, 60),
    seed("gaiters", "Travelling gaiters", "clothing", 1_800, 200),
    seed("sandals-straw", "Straw sandals, ten pairs", "clothing", 1_500, 500),
    seed("gloves-rider", "Rider's gloves", "clothing", 2_400, 80),
    seed("bag-shoulder", "Shoulder bag, two bundles", "luggage", 4_100, 70),
    seed("box-lacquer", "Lacquered document box", "luggage", 12_500, 15),
    seed("chest-travel", "Travelling chest", "luggage", 34_000, 6),
    seed("cloth-wrap", "Wrapping cloth, indigo", "luggage", 1_200, 300),
    seed("lantern-fold", "Folding lantern", "gear", 2_900, 150),
    seed("flask-bamboo", "Bamboo flask", "gear", 900, 400),
    seed("compass-pocket", "Pocket compass and sundial", "gear", 7_800, 30),
    seed("brush-case", "Brush and ink case", "gear", 3_600, 90),
    seed("abacus-small", "Small abacus", "gear", 2_200, 45),
    seed("guide-inns", "Guide to inns, three volumes", "books", 5_600, 35),
    seed("guide-words", "Words for travellers", "books", 1_900, 110),
    seed("diary-blank", "Travel diary, blank", "books", 1_400, 250),
    seed("poems-north", "Poems of the narrow road north", "books", 2_600, 75),
    seed("tea-bricks", "Pressed tea, five bricks", "provisions", 1_700, 180),
    seed("rice-dried", "Dried rice for a week", "provisions", 1_100, 220),
];
