// Makes gRPC calls as a program with @grpc/grpc-js does, and prints what came of each.
//
//     node grpc.mjs ADDRESS TOKEN DOMAIN [CA]
import { readFileSync } from "node:fs";
import { fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { Client, Metadata, credentials, status } from "@grpc/grpc-js";
import { AdminService } from "../../../examples/web/generated/zitadel/admin_pb.js";
import { SystemService } from "../../../examples/web/generated/zitadel/system_pb.js";

const [address, token, domain, ca] = process.argv.slice(2);
const authorization = `Bearer ${token}`;
const client = new Client(address, ca ? credentials.createSsl(readFileSync(ca)) : credentials.createInsecure());

function metadataOf(fields) {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  return metadata;
}

function outcome(error, rest) {
  const details = error?.metadata.get("grpc-status-details-bin")[0];
  return {
    code: status[error?.code ?? status.OK],
    message: error?.details ?? "",
    details: details ? details.toString("base64") : null,
    ...rest,
  };
}

const inTenSeconds = () => ({ deadline: Date.now() + 10_000 });

function unary(method, request, fields) {
  const serialize = (message) => Buffer.from(toBinary(method.input, message));
  const deserialize = (bytes) => fromBinary(method.output, bytes);
  const path = `/${method.parent.typeName}/${method.name}`;
  const message = fromJson(method.input, request);
  return new Promise((resolve) => {
    let reply, error, headers;
    client
      .makeUnaryRequest(path, serialize, deserialize, message, metadataOf(fields), inTenSeconds(), (failed, came) => {
        error = failed;
        reply = came && toJson(method.output, came);
      })
      .on("metadata", (received) => (headers = received.getMap()))
      // The status comes last.
      .on("status", ({ metadata }) =>
        setImmediate(() => {
          const { "grpc-status-details-bin": _, ...trailers } = metadata.getMap();
          resolve(outcome(error, { reply, headers, trailers }));
        }),
      );
  });
}

// A stream that ends only when its time is over.
function watch(milliseconds) {
  const asIs = (bytes) => bytes;
  const began = performance.now();
  const options = { deadline: Date.now() + milliseconds };
  const call = client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", asIs, asIs, Buffer.alloc(0), options);
  return new Promise((resolve) => {
    const messages = [];
    call.on("data", (bytes) => messages.push(bytes.toString("base64")));
    call.on("error", (error) => resolve(outcome(error, { messages, milliseconds: performance.now() - began })));
  });
}

const { addInstance } = SystemService.method;
const request = { instanceName: "Acme", customDomain: domain, ownerEmail: { email: "owner@acme.example" } };
const asked = { authorization, "x-zitadel-instance-host": domain };
const outcomes = {
  added: await unary(addInstance, request, { authorization, "x-request-id": `${domain}.1` }),
  read: await unary(AdminService.method.getMyInstance, {}, asked),
  bySystem: await unary(SystemService.method.getMyInstance, {}, asked),
  taken: await unary(addInstance, request, { authorization }),
  broken: await unary(addInstance, { ownerEmail: { email: "nobody" } }, { authorization, "x-request-id": `${domain}.2` }),
  refused: await unary(AdminService.method.getMyInstance, {}, { ...asked, authorization: `${authorization}x` }),
  late: await watch(300),
};
client.close();
console.log(JSON.stringify(outcomes));
