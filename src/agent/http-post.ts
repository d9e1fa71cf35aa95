// One JSON request over HTTP(S), with a deadline and a bound on the answer. Not `fetch`: that costs the agent about
// ten megabytes for the one request of its life.
import { request as requestPlain } from 'node:http';
import { request as requestTls } from 'node:https';
import type { Dialer } from '../dial/dialer.ts';

const MAX_ANSWER_BYTES = 64 * 1024;

export interface HttpAnswer {
  readonly status: number;
  /** Parsed JSON, or null where it was not JSON. */
  readonly body: unknown;
}

/** Posts `value`; follows no redirect. Rejects when there is no answer in time. */
export function postJson(
  url: string,
  value: object,
  deadlineMs: number,
  dialer: Dialer,
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(value);
    const request = (url.startsWith('https:') ? requestTls : requestPlain)(
      url,
      {
        method: 'POST',
        agent: false,
        ...dialer.options(url),
        signal: AbortSignal.timeout(deadlineMs),
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_ANSWER_BYTES) request.destroy(new Error('the answer is too long'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: parse(Buffer.concat(chunks).toString()) }),
        );
      },
    );
    request.on('error', (error) => reject(describe(dialer, url, error, deadlineMs)));
    request.end(text);
  });
}

function describe(dialer: Dialer, url: string, error: Error, deadlineMs: number): Error {
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return new Error(`no answer within ${deadlineMs / 1000} s`);
  return dialer.explain(url, error);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
