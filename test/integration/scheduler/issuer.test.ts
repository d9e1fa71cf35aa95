// Whoever writes the certificates, in a process of its own as the built scheduler has it.
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIssuing } from '../../../src/scheduler/tls/issuer.ts';
import { validity } from '../../fakes/certificates.ts';
import { buildScript } from './built-script.ts';

let built: Awaited<ReturnType<typeof buildScript>>;
let folder = '';
beforeAll(async () => {
  built = await buildScript('certificate-issuer');
  folder = mkdtempSync(join(tmpdir(), 'flopd-issuer-'));
});
afterAll(() => {
  built.remove();
  rmSync(folder, { recursive: true });
});

function commandLineOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // It has ended meanwhile.
  }
}

/** Command lines of this process's children. */
const children = (): readonly string[] =>
  readdirSync('/proc/self/task')
    .flatMap((task) => readFileSync(`/proc/self/task/${task}/children`, 'utf8').split(' '))
    .filter((pid) => pid !== '')
    .map(commandLineOf)
    .filter((line) => line.includes('certificate-issuer'));

const script = (text: string): URL => {
  const path = join(folder, `${text.length}.mjs`);
  writeFileSync(path, text);
  return pathToFileURL(path);
};

describe('certificates', () => {
  it('are written by a child that gets no key in its arguments and ends with the work', async () => {
    const made = await createIssuing(built.script)(async (issuer) => {
      const first = await issuer.makeAuthority('first', validity());
      const next = await issuer.makeAuthority('next', validity());
      const lines = children();
      expect(lines).toHaveLength(1);
      expect(lines[0]).not.toMatch(/KEY|BEGIN/);
      const cross = await issuer.crossSign(next, first);
      return { first, cross, leaf: await issuer.makeLeaf(['a.example'], next, validity()), next };
    });
    const read = (pem: string) => new X509Certificate(pem);
    expect(read(made.cross).verify(read(made.first.certificate).publicKey)).toBe(true);
    expect(read(made.leaf.certificate).verify(read(made.cross).publicKey)).toBe(true);
    expect(children()).toEqual([]);
  });

  it('fail with a reason, and without the key, where the child cannot write them', async () => {
    const issue = createIssuing(built.script);
    const pair = { certificate: 'none', key: 'secret words' };
    const failed = issue((issuer) => issuer.makeLeaf(['a.example'], pair, validity()));
    await expect(failed).rejects.toMatchObject({ code: 'TLS_ISSUER_FAILED' });
    await expect(failed).rejects.not.toThrow(/secret/);
    expect(children()).toEqual([]);
  });

  it.each([
    ['ends at once', 'process.exit(3);', 'its process ended (3)'],
    ['ends when it is asked', "process.on('message', () => process.exit(4));", 'its process ended (4)'],
    ['dies', "process.on('message', () => process.kill(process.pid, 'SIGKILL'));", 'ended (SIGKILL)'],
  ])('fail where the child %s', async (_, text, reason) => {
    const failed = createIssuing(script(text))((issuer) => issuer.makeAuthority('a', validity()));
    await expect(failed).rejects.toThrow(reason);
  });

  it('fail where there is no such script', async () => {
    const none = pathToFileURL(join(folder, 'none.mjs'));
    const failed = createIssuing(none)((issuer) => issuer.makeAuthority('a', validity()));
    await expect(failed).rejects.toMatchObject({ code: 'TLS_ISSUER_FAILED' });
  });
});
