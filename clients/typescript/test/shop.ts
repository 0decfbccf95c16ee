/** The gateway of the tests, what may be done to it, and a proxy in front of it that cuts connections. */

import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

import { type Cart, CartClient, type ClientOptions, type Operation } from "@cartstream/client";

export const GATEWAY = variable("CARTSTREAM_TEST_GATEWAY");
const CONTROLS = variable("CARTSTREAM_TEST_CONTROLS");
const SECRET = variable("CARTSTREAM_TEST_JWT_SECRET");

/** Kill, freeze, start or thaw something; resolves when that is done. */
export async function control(action: "gateway/kill" | "gateway/start" | "redis/freeze" | "redis/thaw") {
  const reply = await fetch(`${CONTROLS}/${action}`, { method: "POST" });
  if (!reply.ok) throw new Error(`${action}: ${reply.status}`);
}

/** A shopper whom nobody has seen: the id of the cart, and what proves who it is. */
export function shopper(): { cartId: string; bearer: string } {
  const subject = randomUUID();
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: subject, exp: Date.now() / 1000 + 3600 })}`;
  const signature = createHmac("sha256", SECRET).update(signed).digest("base64url");
  return { cartId: `user:${subject}`, bearer: `${signed}.${signature}` };
}

/** A client of a new shopper, and the id of the shopper's cart. */
export function shopping(options: Partial<ClientOptions> = {}): { client: CartClient; cartId: string } {
  const { cartId, bearer } = shopper();
  return { client: new CartClient({ baseUrl: GATEWAY, proofs: { bearer }, ...options }), cartId };
}

/** How many pieces are in the cart. */
export const pieces = (cart: Cart): number => cart.lines.reduce((sum, line) => sum + line.quantity, 0);

export const add = (quantity: number): Operation => ({ op: "add", product_id: "espresso-cup", quantity });

type Trick = (reply: Buffer, client: Socket) => "passed" | "swallowed";

/** Passes everything on, in both directions, until it is told to do otherwise. */
export class Proxy {
  /** The head of every request. */
  readonly heads: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #tricks: Trick[] = [];
  readonly #answers: string[] = [];

  private constructor() {
    this.#server = createServer((client) => this.#serve(client));
  }

  static async start(): Promise<Proxy> {
    const proxy = new Proxy();
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The Idempotency-Key of each request that had one. */
  get keys(): string[] {
    return this.heads.flatMap((head) => /^idempotency-key: (.+)$/im.exec(head)?.[1] ?? []);
  }

  /** Cut the connection when the next reply has begun; the client gets its first `bytes`. */
  cutNextReply(bytes = 0): void {
    this.#tricks.push((reply, client) => {
      client.write(reply.subarray(0, bytes), () => client.resetAndDestroy());
      return "swallowed";
    });
  }

  /** Keep the next reply back for ever. */
  swallowNextReply(): void {
    this.#tricks.push(() => "swallowed");
  }

  /** Answer the next request in the gateway's place. */
  answerNext(status: string, headers: Record<string, string>, body = ""): void {
    const lines = Object.entries({ ...headers, "content-length": String(body.length) });
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    this.#answers.push(`HTTP/1.1 ${status}\r\n${head}connection: close\r\n\r\n${body}`);
  }

  /** Cut all connections that there are. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cutAll();
    this.#server.close();
    await once(this.#server, "close");
  }

  #serve(client: Socket): void {
    const upstream = connect(Number(new URL(GATEWAY).port), "127.0.0.1");
    for (const [socket, other] of [[client, upstream] as const, [upstream, client] as const]) {
      this.#sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (sent) => {
      const text = sent.toString("latin1");
      const isHead = /^[A-Z]+ \/.* HTTP\/1\.1\r\n/.test(text);
      if (isHead) this.heads.push(text.split("\r\n\r\n", 1)[0] ?? "");
      const answer = isHead ? this.#answers.shift() : undefined;
      if (answer === undefined) upstream.write(sent);
      else client.end(answer);
    });
    let isSwallowed = false;
    upstream.on("data", (reply) => {
      const trick = isSwallowed ? undefined : this.#tricks.shift();
      isSwallowed ||= trick?.(reply, client) === "swallowed";
      if (!isSwallowed && client.writable) client.write(reply);
    });
  }
}

function variable(name: string): string {
  const found = process.env[name];
  if (found === undefined) throw new Error(`${name} is not set: these tests are run by \`make client-test\``);
  return found;
}
