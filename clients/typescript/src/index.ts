/** What the package offers. */

export { CartClient, type ClientOptions, type Edit } from "./client.js";
export { NoAnswerError, type Problem, ProblemError } from "./problems.js";
export { DEFAULT_RETRIES, type RetryPolicy } from "./retries.js";
export type { components, operations, paths } from "./schema.js";
export type { Proof, Proofs } from "./sender.js";
export type { CartEvent, FollowOptions } from "./stream.js";
export * from "./types.js";
