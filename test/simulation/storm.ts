// Everything that can go wrong in a simulation, one thing at a time.
import { type FaultPoint, faultPoints } from '../../src/job/fault-points.ts';
import type { DeviceRecord } from '../../src/protocol/device.ts';
import { type SchedulerFaultPoint, schedulerFaultPoints } from '../../src/scheduler/fault-points.ts';
import type { History } from '../campaign/history.ts';
import { deviceRecord } from '../fakes/device.ts';
import type { AgentLife } from './agent-life.ts';
import type { JournalStore, Weather } from './disks.ts';
import type { NodeKey } from './keys.ts';
import type { Machine } from './machine.ts';
import type { Network } from './network.ts';
import type { Dice } from './seed.ts';
import type { Life, Time } from './time.ts';

/** After so much time a journal has been written anew. */
const JOURNAL_MENDED_MS = 40_000;

export interface Host {
  readonly key: NodeKey;
  readonly machine: Machine;
  readonly journal: JournalStore;
  readonly weather: Weather;
  devices: readonly DeviceRecord[];
  agent: AgentLife | null;
  generation: number;
  /** Where its next life dies, if somewhere. */
  doom: { readonly point: FaultPoint; passes: number } | null;
}

export interface Stage {
  readonly time: Time;
  readonly dice: Dice;
  readonly history: History;
  readonly network: Network;
  readonly hosts: readonly Host[];
  readonly schedulerWeather: Weather;
  say(what: string): void;
  scheduler(): Life | null;
  crashAgent(host: Host, where: string, downMs: number): void;
  startAgent(host: Host): void;
  crashScheduler(where: string, downMs: number): void;
  doomScheduler(point: SchedulerFaultPoint, passes: number): void;
  loseStore(): void;
  cancel(): void;
  drain(nodeId: string, forMs: number | null): void;
}

/** The function strikes some host, or the scheduler, with something. */
export function createStorm(stage: Stage): () => void {
  const { time, dice, history, network, hosts, schedulerWeather, say } = stage;
  const { crashAgent, startAgent, crashScheduler } = stage;

  const faults: readonly ((host: Host) => void)[] = [
    (host) => crashAgent(host, 'somewhere', dice.between(0, 15_000)),
    (host) => {
      host.doom = { point: dice.pick(faultPoints), passes: dice.between(1, 3) };
    },
    () => crashScheduler('somewhere', dice.between(0, 8000)),
    () => {
      stage.doomScheduler(dice.pick(schedulerFaultPoints), dice.between(1, 3));
    },
    (host) => {
      // Where an end is on its way from one disk to the other.
      host.doom = {
        point: dice.pick(['result.sent', 'result.acknowledged', 'folder.removed']),
        passes: dice.between(1, 3),
      };
      if (dice.chance(0.5)) host.weather.state = 'slow';
    },
    () => {
      stage.doomScheduler(
        dice.pick(['fact.acknowledged', 'output.synced', 'order.sent']),
        dice.between(1, 4),
      );
      if (dice.chance(0.5)) schedulerWeather.state = 'slow';
    },
    (host) => {
      say(`the connection of ${host.key.name} breaks`);
      network.reset(host.key.nodeId, false);
    },
    (host) => {
      say(`the connection of ${host.key.name} is half open`);
      network.reset(host.key.nodeId, true);
    },
    (host) => {
      const path = network.path(host.key.nodeId);
      path.cutUp = dice.chance(0.7);
      path.cutDown = !path.cutUp || dice.chance(0.5);
      say(`${host.key.name} is cut off (up ${path.cutUp}, down ${path.cutDown})`);
      time.at(dice.between(500, 60_000), () => {
        say(`the way to ${host.key.name} heals`);
        network.heal(host.key.nodeId);
      });
    },
    (host) => weatherChange(host.weather, host.key.name, host.key.nodeId),
    () => weatherChange(schedulerWeather, 'the scheduler', null),
    (host) => {
      const { agent } = host;
      if (agent === null) return;
      say(`the agent of ${host.key.name} is stopped`);
      agent.life.stop();
      time.at(dice.between(1000, 60_000), () => {
        say(`the agent of ${host.key.name} goes on`);
        agent.life.go();
      });
    },
    () => {
      const life = stage.scheduler();
      say('the scheduler is stopped');
      life?.stop();
      time.at(dice.between(1000, 20_000), () => life?.go());
    },
    (host) => {
      if (!dice.chance(0.4)) return;
      say(`${host.key.name} is restarted`);
      host.agent?.life.kill();
      host.machine.reboot();
      time.at(dice.between(1000, 20_000), () => startAgent(host));
    },
    () => {
      if (!dice.chance(0.2)) return;
      say('the store of the scheduler is lost');
      stage.loseStore();
    },
    (host) => {
      if (host.machine.killShim()) say(`a shim on ${host.key.name} is killed`);
    },
    () => stage.cancel(),
    () => stage.cancel(),
    (host) => {
      stage.drain(host.key.nodeId, dice.chance(0.5) ? dice.between(1000, 20_000) : null);
    },
    (host) => failDevice(host),
    () => time.jump(dice.pick([-3_600_000, 3_600_000, -5, 86_400_000])),
  ];

  function weatherChange(weather: Weather, whose: string, node: string | null): void {
    weather.state = dice.pick(['full', 'failing', 'slow', 'slow']);
    say(`the disk of ${whose} is ${weather.state}`);
    const was = weather.state;
    if (node !== null && was !== 'slow') history.add('world', { kind: 'diskRefuses', node, refuses: true });
    time.at(dice.between(200, 10_000), () => {
      weather.state = 'well';
      say(`the disk of ${whose} is well again`);
      // The journal is written anew a while after it can be.
      if (node !== null && was !== 'slow')
        time.at(JOURNAL_MENDED_MS, () => {
          if (weather.state === 'well') history.add('world', { kind: 'diskRefuses', node, refuses: false });
        });
      // A scheduler whose store has failed takes no change any more: somebody restarts it.
      if (weather === schedulerWeather && was === 'failing') crashScheduler('by its operator', 500);
    });
  }

  function failDevice(host: Host): void {
    const device = host.devices.length === 0 ? null : dice.pick(host.devices);
    if (device === null) return;
    history.add('world', { kind: 'deviceFailed', node: host.key.nodeId, device: device.id });
    const fault = { code: 'xid-79', text: 'it has fallen off the bus', rung: 'replace' as const };
    host.devices = host.devices.map((one) => (one.id === device.id ? { ...one, rung: 'replace' } : one));
    const tell = (): void => {
      host.agent?.link.devices(host.devices);
      host.agent?.jobs()?.deviceFailed([device.id], fault);
    };
    tell();
    // The ladder tells it again after a restart.
    const again = time.at(9000, tell);
    time.at(dice.between(10_000, 30_000), () => {
      again.cancel();
      host.devices = host.devices.map((one) => (one.id === device.id ? deviceRecord(one.slot) : one));
      host.agent?.link.devices(host.devices);
    });
  }

  return () => dice.pick(faults)(dice.pick(hosts));
}
