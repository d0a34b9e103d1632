// Where a person is stands in the hash alone, so that a link, the back button and a reload all lead to the same place.

export const TABS = { messages: "Messages", dead: "Dead letters", topics: "Topics", queues: "Queues", schedules: "Schedules", flow: "Flow control", chaos: "Chaos" };

export function readRoute() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const tab = Object.hasOwn(TABS, asked.get("tab") ?? "") ? asked.get("tab") : "messages";
  const user = /^[1-4]$/.test(asked.get("user") ?? "") ? Number(asked.get("user")) : 1;
  return { tab, user, message: asked.get("msg") || undefined };
}

// What is usual is left out, which keeps the link to a message at "#msg=<id>".
export function linkTo({ tab, user, message }) {
  const link = new URLSearchParams();
  if (user !== 1) link.set("user", user);
  if (tab !== "messages") link.set("tab", tab);
  if (message) link.set("msg", message);
  return `#${link}`;
}
