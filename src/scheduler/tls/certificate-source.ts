// Where the scheduler's certificate comes from: its private authority or the operator's files. Both give what a TLS
// server takes, and say on each look whether it has changed.

/** What a TLS server is made with. PEM. */
export interface ServerCertificate {
  /** The certificate and its chain. */
  readonly cert: string;
  readonly key: string;
  /** Wall clock. */
  readonly expiresAtMs: number;
}

/** Whether `certificate` or `authorities` give something else than before. */
export interface Changes {
  readonly certificate: boolean;
  readonly authorities: boolean;
}

export interface CertificateSource {
  /** The certificate to use from now on. */
  certificate(): ServerCertificate;
  /** Does what is due. Never rejects. */
  look(): Promise<Changes>;
  /** Whom peers may trust: PEM, the one that signs first; empty where that is not for us to say. */
  authorities(): readonly string[];
}
