// What the page says, in both languages.

const en = {
  title: "The travellers' shop", skip: 'Skip to the goods', nav: 'Shop', goods: 'Goods', cart: 'Cart', orders: 'Orders',
  signIn: 'Sign in', signOut: 'Sign out', search: 'Search', kind: 'Kind', all: 'Everything',
  none: 'Nothing like that is sold here.', empty: 'Nothing is in it yet.', total: 'Together', shipTo: 'Where it goes',
  name: 'Name', street: 'Street and number', postcode: 'Post code', city: 'City', country: 'Country (two letters)',
  order: 'Place the order', unordered: 'You have not ordered anything yet.', username: 'User name', password: 'Password',
  code: 'Code of your app', cancel: 'Cancel', otherWays: 'Other ways to sign in',
  cookies: 'Cookie settings', foot: 'A demonstration: nothing is sold, and nothing is sent.', add: 'Add to cart', remove: 'Take out', quantity: 'How many',
  added: 'It is in the cart.', placed: 'Your order is placed.', signedOut: 'You are signed out.', left: 'Your session has ended.',
  wrong: 'The user name, the password or the code is wrong.', again: 'That took too long. Please begin anew.',
  wait: 'Too many attempts. Please wait a little.', trouble: 'That did not work. Please try again.',
  state: { placing: 'being placed', placed: 'placed', refused: 'refused' },
  unread: 'Not read yet', theme: 'Colours', themes: { system: 'As the device', light: 'Light', dark: 'Dark' },
  kinds: { maps: 'Maps', clothing: 'Clothing', luggage: 'Luggage', gear: 'Gear', books: 'Books', provisions: 'Provisions' },
};

/** @type {typeof en} */
const ja = {
  title: '旅人の店', skip: '商品へ移動', nav: '店内', goods: '商品', cart: 'カート', orders: '注文',
  signIn: 'サインイン', signOut: 'サインアウト', search: '検索', kind: '種類', all: 'すべて',
  none: '該当する商品はありません。', empty: 'カートは空です。', total: '合計', shipTo: 'お届け先',
  name: '氏名', street: '住所（番地まで）', postcode: '郵便番号', city: '市区町村', country: '国（英字二文字）',
  order: '注文する', unordered: 'まだ注文はありません。', username: 'ユーザー名', password: 'パスワード',
  code: 'アプリのコード', cancel: 'キャンセル', otherWays: 'ほかの方法でサインイン',
  cookies: 'Cookie の設定', foot: 'これはデモです。何も販売・発送されません。', add: 'カートに入れる', remove: '取り出す', quantity: '個数',
  added: 'カートに入れました。', placed: '注文しました。', signedOut: 'サインアウトしました。', left: 'セッションが終了しました。',
  wrong: 'ユーザー名、パスワード、またはコードが違います。', again: '時間切れです。最初からやり直してください。',
  wait: '試行回数が多すぎます。しばらくお待ちください。', trouble: 'うまくいきませんでした。もう一度お試しください。',
  state: { placing: '手続き中', placed: '注文済み', refused: '不成立' },
  unread: '未読のお知らせ', theme: '配色', themes: { system: '端末に合わせる', light: '明るい', dark: '暗い' },
  kinds: { maps: '地図', clothing: '衣類', luggage: '荷物入れ', gear: '道具', books: '書物', provisions: '食料' },
};

export const WORDS = { en, ja };

/** What stands for a kind of goods. */
export const EMBLEMS = { maps: '図', clothing: '衣', luggage: '箱', gear: '具', books: '書', provisions: '糧' };
