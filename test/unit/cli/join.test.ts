import { describe, expect, it } from 'vitest';
import { startLines } from '../../../src/cli/join.ts';

describe('how the daemons are started after joining', () => {
  it('is one line without a runner', () => {
    expect(startLines(null, null)).toEqual([
      'start the agent: flopd agent   (as a service: systemctl start flopd-agent)',
    ]);
  });

  it('names one socket to both, which the user of the agent can reach', () => {
    expect(startLines('/a b', { stateDir: '/r', user: 'flopd' })).toEqual([
      'start the runner: flopd runner --state-dir /r --runner /run/flopd-runner/runner.sock --runner-user flopd',
      "start the agent, as user flopd: flopd agent --state-dir '/a b' --runner /run/flopd-runner/runner.sock",
      'as services: systemctl start flopd-runner flopd-agent',
    ]);
  });

  it("is the runner's own socket where both are one user", () => {
    expect(startLines('/a', { stateDir: '/r', user: null }).slice(0, 2)).toEqual([
      'start the runner: flopd runner --state-dir /r',
      'start the agent: flopd agent --state-dir /a --runner /r/runner.sock',
    ]);
  });
});
