// The same work as Surehook's consumer: QStash's receiver verifies, Powertools keeps the record of what was done, `fetch` delivers.
// Everything is built once, when the function starts, as both libraries' documentation shows it.
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { Receiver } from '@upstash/qstash';

const receiver = new Receiver({
  currentSigningKey: process.env.QSTASH_CURRENT_SIGNING_KEY,
  nextSigningKey: process.env.QSTASH_NEXT_SIGNING_KEY,
});
const config = new IdempotencyConfig({ eventKeyJmesPath: 'body', throwOnNoIdempotencyKey: true });

const deliver = async (event) => {
  const answer = await fetch(process.env.DESTINATION_URL, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: event.body,
    signal: AbortSignal.timeout(8000),
  });
  // An unread answer would keep its connection from being used again.
  await answer.arrayBuffer();
  if (!answer.ok) throw new Error(`the destination answered ${answer.status}`);
  return { statusCode: 200, body: '{"status":"processed"}' };
};

const deliverOnce = makeIdempotent(deliver, {
  persistenceStore: new DynamoDBPersistenceLayer({ tableName: process.env.TABLE_NAME }),
  config,
});

const isSigned = async (event) => {
  try {
    return await receiver.verify({
      signature: event.headers['upstash-signature'],
      body: event.body,
      url: process.env.CONSUMER_URL + event.rawPath,
    });
  } catch {
    return false;
  }
};

export const handler = async (event, context) => {
  config.registerLambdaContext(context);
  if (!(await isSigned(event))) return { statusCode: 401, body: '' };
  return deliverOnce(event);
};
