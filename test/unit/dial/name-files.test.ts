import { describe, expect, test } from 'vitest';
import { hostsAddresses, namesToAsk } from '../../../src/dial/name-files.ts';

describe('a hosts file', () => {
  const text = [
    '127.0.0.1 localhost',
    '# 10.0.0.9 scheduler',
    '10.0.0.1\tscheduler.example Scheduler # main',
    'not-an-address scheduler',
    '::ffff:10.0.0.2  scheduler',
    '10.0.0.1 scheduler',
    '',
  ].join('\n');

  test('gives all addresses of a name in its order, without regard to case', () => {
    expect(hostsAddresses(text, 'SCHEDULER')).toEqual(['10.0.0.1', '::ffff:10.0.0.2']);
    expect(hostsAddresses(text, 'scheduler.example')).toEqual(['10.0.0.1']);
  });

  test('says nothing of names that are in comments or not there', () => {
    expect(hostsAddresses(text, 'main')).toEqual([]);
    expect(hostsAddresses('', 'scheduler')).toEqual([]);
  });
});

describe('resolv.conf', () => {
  test('without a search list leaves the name as it is', () => {
    expect(namesToAsk('nameserver 10.0.0.1\n', 'scheduler')).toEqual(['scheduler']);
  });

  test('puts short names below each domain first, names with dots last', () => {
    const text = 'search a.example b.example.\n';
    expect(namesToAsk(text, 'scheduler')).toEqual([
      'scheduler.a.example',
      'scheduler.b.example',
      'scheduler',
    ]);
    expect(namesToAsk(text, 's.example')).toEqual([
      's.example',
      's.example.a.example',
      's.example.b.example',
    ]);
  });

  test('with ndots tries the domains first for longer names too', () => {
    expect(namesToAsk('search svc.cluster\noptions timeout:1 ndots:2\n', 'a.b')[0]).toBe('a.b.svc.cluster');
  });

  test('takes the last of search and domain, and a name with a final dot as whole', () => {
    expect(namesToAsk('search a.example\ndomain b.example\n', 's')).toEqual(['s.b.example', 's']);
    expect(namesToAsk('search a.example\n', 's.')).toEqual(['s']);
  });
});
