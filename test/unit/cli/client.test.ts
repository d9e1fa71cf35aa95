// What a client says to do about a scheduler that it cannot reach.
import { expect, test } from 'vitest';
import { describeError } from '../../../src/base/fault.ts';
import { unreachable } from '../../../src/cli/client.ts';
import type { Access } from '../../../src/cli/endpoint.ts';

const refused = Object.assign(new Error('connect'), { code: 'ECONNREFUSED' });
const remedyFor = (url: string) => unreachable({ url } as unknown as Access, refused).remedy;

test.each(['http://127.0.0.1:7070', 'http://localhost:7070', 'http://[::1]:7070'])(
  'a scheduler of this machine, %s, can be started here',
  (url) => expect(remedyFor(url)).toContain('flopd up'),
);

test('a scheduler elsewhere cannot: its address may be wrong, or it does not run', () => {
  const remedy = remedyFor('https://fleet.example:7070');
  expect(remedy).toContain('check the address');
  expect(remedy).not.toContain('flopd up');
});

test('its sentence, behind the name of the field, says once that it is a scheduler', () => {
  const said = describeError(unreachable({ url: 'http://127.0.0.1:7070' } as unknown as Access, refused));
  expect(said).toMatch(/^scheduler: http:\/\/127\.0\.0\.1:7070 is unreachable: connection refused/);
});
