// Makes the reference pages' JSON calls as a program with axios does, and prints what came back.
//
//     node calls.js URL TOKEN DOMAIN
import axios from "axios";

const [url, token, domain] = process.argv.slice(2);
const authorization = `Bearer ${token}`;

const data = JSON.stringify({
  instanceName: "Acme",
  firstOrgName: "Acme Sales",
  customDomain: domain,
  ownerUserName: "ada",
  ownerEmail: {
    email: "ada@acme.example",
    isEmailVerified: true,
  },
  ownerProfile: {
    firstName: "Ada",
    lastName: "Lovelace",
    preferredLanguage: "de",
  },
  ownerPassword: {
    password: "Secr3t-enough!",
    passwordChangeRequired: true,
  },
  defaultLanguage: "en",
});

async function call(method, path, headers, data) {
  const config = {
    method,
    maxBodyLength: Infinity,
    url: url + path,
    headers: { ...(data && { "Content-Type": "application/json" }), Accept: "application/json", ...headers },
    data,
    // Errors are outcomes here.
    validateStatus: () => true,
  };
  const response = await axios.request(config);
  return { status: response.status, contentType: response.headers["content-type"], body: response.data };
}

const instances = "/system/v1/instances";
const me = "/admin/v1/instances/me";
const outcomes = {
  added: await call("post", instances, { Authorization: authorization }, data),
  read: await call("get", me, { Authorization: authorization, "x-zitadel-instance-host": domain }),
  byHost: await call("get", me, { Authorization: authorization, Host: domain }),
  taken: await call("post", instances, { Authorization: authorization }, data),
  empty: await call("post", instances, { Authorization: authorization }, "{}"),
  refused: await call("post", instances, { Authorization: `${authorization}x` }, data),
};
console.log(JSON.stringify(outcomes));
