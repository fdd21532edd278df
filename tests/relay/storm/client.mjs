// A client of a few lines, written after the vendor's README: authorize, send, repeat until a 200.
// node client.mjs BASE_URL KEY; each line of its input is the number of an event; it prints the
// numbers that were answered 200.
import { randomUUID } from "node:crypto";
import { createInterface } from "node:readline";

const [base, key] = process.argv.slice(2);
let token = null;

async function authorize() {
  const response = await fetch(`${base}/auth/authorize`, { headers: { "x-api-key": key } });
  if (response.ok) token = (await response.json()).data;
}

async function send(numbers) {
  const events = numbers.map((n) => ({
    type: "VIEW", customer_id: `js-${n % 3}`, brand_id: null, metadata: { n, from: "js" },
  }));
  const id = randomUUID();
  for (;;) {
    try {
      if (token === null) await authorize();
      const response = await fetch(`${base}/behavior/events/bulk`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${token}`,
          "content-type": "application/json",
          "idempotency-key": id,
        },
        body: JSON.stringify({ events }),
        signal: AbortSignal.timeout(3000),
      });
      if (response.ok) return;
      if (response.status === 401) token = null;
      else if (response.status === 422) throw new Error(await response.text());
    } catch (error) {
      if (error.message?.startsWith("{")) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

let waiting = [];
let sending = Promise.resolve();

function flush() {
  const numbers = waiting;
  waiting = [];
  sending = sending.then(async () => {
    await send(numbers);
    console.log(numbers.join(" "));
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  waiting.push(Number(line));
  if (waiting.length === 10) flush();
}
if (waiting.length) flush();
await sending;
