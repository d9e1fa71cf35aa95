import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { keepAuthorities, openAuthorities } from '../../../src/agent/authorities.ts';
import { authority, serverPair } from '../../fakes/certificates.ts';
import { createKeptLog, type KeptLog } from '../link/parts.ts';

const [ours, next] = [await authority('ours'), await authority('next')];
const ofServer = (await serverPair(ours)).cert.replace(ours.certificate, '');
let folder = '';
let log: KeptLog;
const kept = (): string => join(folder, 'authorities.pem');
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-authorities-'));
  log = createKeptLog();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('whom an agent believes', () => {
  test('is the system, where nothing was ever kept, whatever a scheduler names', () => {
    const authorities = openAuthorities({ folder, caFile: null, log });
    expect(authorities.present()).toBe(null);
    authorities.learn([ours.certificate]);
    expect(authorities.present()).toBe(null);
    expect(existsSync(kept())).toBe(false);
  });

  test('is what it has kept, and what its scheduler names from then on, also after a restart', () => {
    keepAuthorities(folder, [ours.certificate]);
    expect(statSync(kept()).mode & 0o777).toBe(0o600);
    const authorities = openAuthorities({ folder, caFile: null, log });
    expect(authorities.present()).toEqual([ours.certificate]);
    authorities.learn([ours.certificate, next.certificate]);
    expect(authorities.present()).toEqual([ours.certificate, next.certificate]);
    authorities.learn([next.certificate]);
    expect(openAuthorities({ folder, caFile: null, log }).present()).toEqual([next.certificate]);
    // What is known already is no news.
    const lines = log.lines.length;
    authorities.learn([next.certificate]);
    expect(log.lines).toHaveLength(lines);
  });

  test.each([
    ['nothing', []],
    ['no certificate', ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']],
    ['a certificate of a server', [ofServer]],
  ])('stays as it is when %s is named', (_, named) => {
    keepAuthorities(folder, [ours.certificate]);
    const before = readFileSync(kept(), 'utf8');
    const authorities = openAuthorities({ folder, caFile: null, log });
    authorities.learn(named);
    expect(authorities.present()).toEqual([ours.certificate]);
    expect(readFileSync(kept(), 'utf8')).toBe(before);
    expect(log.lines.map(({ level }) => level)).toEqual(['warn']);
  });

  test('is the file of the operator alone, where there is one', () => {
    const caFile = join(folder, 'ca.pem');
    writeFileSync(caFile, next.certificate);
    keepAuthorities(folder, [ours.certificate]);
    const authorities = openAuthorities({ folder, caFile, log });
    authorities.learn([ours.certificate]);
    expect(authorities.present()).toEqual([next.certificate]);
  });

  test('is never the system, where what was kept is damaged', () => {
    writeFileSync(kept(), 'none');
    expect(() => openAuthorities({ folder, caFile: null, log })).toThrow(
      expect.objectContaining({ code: 'DIAL_AUTHORITIES_UNFIT' }),
    );
  });
});
