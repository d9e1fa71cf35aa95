// A program of its own (dist/certificate-issuer.js): writes the certificates that the scheduler asks for over the channel
// to it, and ends with that.
import { answerQuestion, type IssuerQuestion } from '../scheduler/tls/issuer.ts';

process.on('message', async (question: IssuerQuestion) => {
  process.send?.(await answerQuestion(question));
});
