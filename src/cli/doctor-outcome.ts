// How a look of `flopd doctor` comes out.

export interface Check {
  readonly name: string;
  readonly status: 'ok' | 'note' | 'warning' | 'failure';
  readonly finding: string;
  readonly remedy: string | null;
}

export type Outcome = Omit<Check, 'name'>;

export const ok = (finding: string): Outcome => ({ status: 'ok', finding, remedy: null });
export const note = (finding: string, remedy: string | null = null): Outcome => ({
  status: 'note',
  finding,
  remedy,
});
export const warning = (finding: string, remedy: string): Outcome => ({ status: 'warning', finding, remedy });
export const failure = (finding: string, remedy: string): Outcome => ({ status: 'failure', finding, remedy });
