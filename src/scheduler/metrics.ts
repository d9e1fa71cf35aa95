// The scheduler's own metrics, in a registry of their own.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { AuditFigures } from '../audit/audit.ts';
import { jobStates } from '../protocol/result.ts';
import { createAuditGauges } from './audit-log.ts';
import type { Fleet } from './fleet.ts';
import { createFleetGauges, totalsOfNodes } from './fleet-totals.ts';
import type { RemovalReason } from './job-retention.ts';
import type { Queue } from './queue/queue.ts';

export interface SchedulerMetrics {
  received(type: string): void;
  committed(seconds: number, records: number): void;
  answered(status: number): void;
  /** Ended jobs are gone from the store. */
  removed(jobs: number, why: RemovalReason): void;
  /** Gauges are read from these when the page is asked for. */
  watch(queue: Queue, fleet: Fleet, audit?: () => AuditFigures): void;
  /** When the certificate of the port expires, wall clock ms; null without TLS. */
  certificate(expiresAtMs: () => number | null): void;
  page(): Promise<string>;
  readonly contentType: string;
}

/** Message types that get a series of their own; a peer cannot make more. */
const TYPES = [
  'hello',
  'dictionary',
  'devices',
  'heartbeat',
  'orderAck',
  'jobStarted',
  'jobResult',
  'jobReport',
  'ignored',
  'error',
  'telemetry',
  'output',
];

export function createSchedulerMetrics(version: string): SchedulerMetrics {
  const registry = new Registry();
  const registers = [registry];
  let sources: { queue: Queue; fleet: Fleet } | null = null;
  const watchAudit = createAuditGauges(registers);
  new Gauge({
    name: 'flopd_scheduler_info',
    help: 'Version of the scheduler; always 1.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);
  new Gauge({
    name: 'flopd_scheduler_jobs',
    help: 'Jobs in the store, by state.',
    labelNames: ['state'],
    registers,
    collect() {
      const counts = sources?.queue.counts();
      for (const state of jobStates) this.set({ state }, counts?.[state] ?? 0);
    },
  });
  new Gauge({
    name: 'flopd_scheduler_nodes',
    help: 'Enrolled nodes, by state.',
    labelNames: ['state'],
    registers,
    collect() {
      const counts = sources?.fleet.counts();
      this.set({ state: 'ready' }, counts?.ready ?? 0);
      this.set({ state: 'unreachable' }, counts?.unreachable ?? 0);
    },
  });
  new Gauge({
    name: 'flopd_scheduler_store_healthy',
    help: '1 while the job store takes changes, 0 after it failed.',
    registers,
    collect() {
      this.set(sources?.queue.failure() === null ? 1 : 0);
    },
  });
  let expiresAtMs: () => number | null = () => null;
  new Gauge({
    name: 'flopd_scheduler_certificate_expiry_timestamp_seconds',
    help: 'When the certificate that the scheduler shows expires, seconds since 1970; absent without TLS.',
    registers,
    collect() {
      const atMs = expiresAtMs();
      if (atMs === null) this.remove();
      else this.set(atMs / 1000);
    },
  });
  const messages = new Counter({
    name: 'flopd_scheduler_link_messages_total',
    help: 'Messages received from agents, by type.',
    labelNames: ['type'],
    registers,
  });
  const responses = new Counter({
    name: 'flopd_scheduler_http_responses_total',
    help: 'HTTP responses, by status.',
    labelNames: ['status'],
    registers,
  });
  const commits = new Histogram({
    name: 'flopd_scheduler_commit_duration_seconds',
    help: 'Time that one commit of the job store took, sync included.',
    buckets: [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2],
    registers,
  });
  const records = new Counter({
    name: 'flopd_scheduler_commit_records_total',
    help: 'Records written to the job store.',
    registers,
  });
  const removed = new Counter({
    name: 'flopd_scheduler_jobs_removed_total',
    help: 'Ended jobs that are not kept any more, by why: their age, or the number of those that are kept.',
    labelNames: ['why'],
    registers,
  });
  for (const why of ['age', 'number']) removed.inc({ why }, 0);
  const showFleet = createFleetGauges(registers);
  for (const type of TYPES) messages.inc({ type }, 0);
  return {
    received: (type) => messages.inc({ type: TYPES.includes(type) ? type : 'unknown' }),
    committed(seconds, count) {
      commits.observe(seconds);
      records.inc(count);
    },
    removed: (jobs, why) => removed.inc({ why }, jobs),
    answered: (status) => responses.inc({ status: String(status) }),
    watch(queue, fleet, audit) {
      if (audit !== undefined) watchAudit(audit);
      sources = { queue, fleet };
    },
    certificate(fn) {
      expiresAtMs = fn;
    },
    page() {
      if (sources !== null) showFleet(totalsOfNodes(sources.fleet.views()));
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}
