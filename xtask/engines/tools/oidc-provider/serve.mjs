// A provider to measure against: client credentials, refresh, introspection. Everything is in memory.
// Prints a line when it serves: {"port", "refresh_tokens"}. ALG names the algorithm of access tokens;
// FORMAT is `jwt` or `opaque`; REFRESH says how many refresh tokens are wanted.
import { generateKeyPairSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { pathToFileURL } from 'node:url';

const here = createRequire(`${process.cwd()}/`);
const { Provider } = await import(pathToFileURL(here.resolve('oidc-provider')).href);

const alg = process.env.ALG ?? 'RS256';
const format = process.env.FORMAT ?? 'jwt';
const kinds = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const key = (alg) => ({
  ...generateKeyPairSync(...kinds[alg]).privateKey.export({ format: 'jwk' }),
  kid: alg,
  alg,
  use: 'sig',
});

// The default one forgets; this one forgets only when it grows for ever.
const kept = new Map();
class Memory {
  constructor(name) { this.name = name; }
  id(id) { return `${this.name}:${id}`; }
  async upsert(id, payload) {
    if (kept.size > 500_000) kept.clear();
    kept.set(this.id(id), payload);
  }
  async find(id) { return kept.get(this.id(id)); }
  async findByUid() {}
  async findByUserCode() {}
  async destroy(id) { kept.delete(this.id(id)); }
  async consume(id) {
    const payload = kept.get(this.id(id));
    if (payload) payload.consumed = Math.floor(Date.now() / 1000);
  }
  async revokeByGrantId() {}
}

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address();
const resource = 'https://api.example';
const client = (id, grants) => ({
  client_id: id,
  client_secret: 'a secret of some length 0123456789',
  grant_types: grants,
  redirect_uris: grants.includes('authorization_code') ? ['https://client.example/callback'] : [],
  response_types: grants.includes('authorization_code') ? ['code'] : [],
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: Memory,
  jwks: { keys: alg === 'RS256' ? [key('RS256')] : [key(alg), key('RS256')] },
  clients: [
    client('service', ['client_credentials']),
    client('app', ['authorization_code', 'refresh_token']),
  ],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'orders.read orders.write',
        audience: resource,
        accessTokenTTL: 900,
        accessTokenFormat: format,
        jwt: { sign: { alg, kid: alg } },
      }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  rotateRefreshToken: true,
  ttl: { AccessToken: 900, ClientCredentials: 900, Grant: 1_209_600, RefreshToken: 1_209_600 },
  scopes: ['openid', 'offline_access', 'orders.read', 'orders.write'],
});
provider.on('server_error', (_, error) => console.error(error));
server.on('request', provider.callback());

const refreshTokens = [];
for (let number = 0; number < Number(process.env.REFRESH ?? 0); number += 1) {
  const grant = new provider.Grant({ accountId: 'somebody', clientId: 'app' });
  grant.addOIDCScope('offline_access');
  grant.addResourceScope(resource, 'orders.read orders.write');
  const token = new provider.RefreshToken({
    accountId: 'somebody',
    client: await provider.Client.find('app'),
    grantId: await grant.save(),
    gty: 'authorization_code',
    resource,
    scope: 'offline_access orders.read orders.write',
  });
  refreshTokens.push(await token.save());
}
console.log(JSON.stringify({ port, refresh_tokens: refreshTokens }));
