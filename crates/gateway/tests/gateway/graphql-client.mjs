// A service that graphql-js makes, and an application that asks it with graphql-request, through the gateway.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [modules, file] = process.argv.slice(2);
const require = createRequire(`${modules}/x.js`);
const { buildSchema, graphql } = require("graphql");
const { GraphQLClient, gql } = await import(pathToFileURL(require.resolve("graphql-request")).href);

const ours = `
  directive @allow(roles: [String!], scopes: [String!]) repeatable on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
`;
const schema = buildSchema(ours + readFileSync(file, "utf8"));
const product = (id) => ({ __typename: "Product", id, name: `name of ${id}`, priceCents: 100 });
const rootValue = {
  products: ({ first }) => Array.from({ length: first }, (_, id) => product(id)),
  found: () => [product(1), { __typename: "Person", id: 2, name: "two" }],
  order: ({ id, many }) => ({ id, name: `${many} ordered` }),
};
const asked = [];
const server = createServer((request, response) => {
  let text = "";
  request.on("data", (part) => (text += part));
  request.on("end", async () => {
    const { query, variables, operationName } = JSON.parse(text);
    asked.push([request.method, request.url, operationName ?? null]);
    const answer = await graphql({ schema, source: query, rootValue, variableValues: variables, operationName });
    response.writeHead(200, { "content-type": "application/graphql-response+json" });
    response.end(JSON.stringify(answer));
  });
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
console.log(server.address().port);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { url, token } = JSON.parse((await lines.next()).value);
const headers = { authorization: `Bearer ${token}` };
const client = new GraphQLClient(url, { headers });
const said = {};
said.products = await client.request(
  gql`query Home($n: Int!) { products(first: $n) { ...P } } fragment P on Product { id cents: priceCents }`,
  { n: 2 },
);
said.found = await client.request(gql`{ found(words: "\u{1F600} \\"x\\"") { __typename ... on Node { __typename } ... on Person { name } } }`);
said.ordered = await client.request(gql`mutation Order { order(id: "7", many: 3) { id name } }`);
said.got = await new GraphQLClient(url, { headers, method: "GET" }).request(gql`query Got { products(first: 1) { id } }`);
try {
  await client.request(gql`{ product(id: 1) { bought } }`);
} catch (error) {
  // Of answers that are not 2xx it tells no more.
  said.refused = error.response?.status;
}
said.asked = asked;
console.log(JSON.stringify(said));
server.close();
process.exit(0);
