// What graphql-js says of documents: one line in, one line out.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [modules, file] = process.argv.slice(2);
const { buildSchema, parse, print, validate } = createRequire(`${modules}/x.js`)("graphql");

const ours = `
  directive @allow(roles: [String!], scopes: [String!]) repeatable on FIELD_DEFINITION | OBJECT | INTERFACE | UNION
  directive @cost(weight: Int!) on FIELD_DEFINITION
  directive @listSize(assumedSize: Int, slicingArguments: [String!]) on FIELD_DEFINITION
`;
const schema = buildSchema(ours + readFileSync(file, "utf8"));

// Block strings and strings that say the same are the same.
const plain = (text) =>
  print(JSON.parse(JSON.stringify(parse(text, { noLocation: true }), (name, value) => (name === "block" ? false : value))));

for await (const line of createInterface({ input: process.stdin })) {
  const { query, sent } = JSON.parse(line);
  let said;
  try {
    const errors = validate(schema, parse(query));
    said = { valid: errors.length === 0, errors: errors.map((error) => error.message) };
  } catch (error) {
    said = { valid: false, syntax: true, errors: [error.message] };
  }
  if (sent) {
    const again = JSON.parse(sent).query;
    said.sent = validate(schema, parse(again)).map((error) => error.message);
    said.same = said.valid && plain(again) === plain(query);
  }
  console.log(JSON.stringify(said));
}
