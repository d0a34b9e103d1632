// What a stranger could send to take a page over, should any of it ever be read as markup or code.

export const LABEL = `<img src=x onerror="window.pwned=1">javascript:alert(1)`;
export const HEADER = `"><svg onload=window.pwned=1><a href="javascript:window.pwned=1">`;
export const HEADERS = { "Upstash-Label": LABEL, "Upstash-Forward-X-Note": HEADER, "Content-Type": "text/html" };

// No request line may hold angle brackets, so they are encoded; whether the server decodes them or not, they must stay text.
export const PATH = `/javascript:alert(1)/%3Cscript%3Ewindow.pwned=1%3C/script%3E/%3Cimg%20src=x%20onerror=window.pwned=1%3E/%E2%80%AEfdp`;

export const MARKUP = `<img src=x onerror="window.pwned=1"></pre></script><script>window.pwned=1;alert(1)</script>
<iframe srcdoc="<script>parent.pwned=1</script>"></iframe><a href="javascript:window.pwned=1">here</a><base href="//example.invalid">
{{constructor.constructor('window.pwned=1')()}}<!-- <style>*{display:none}</style>`;

export const ANSWER = `{"reason":"</pre><img src=x onerror=window.pwned=1>`;

export const ORDER = JSON.stringify({ order: 1001, items: [{ sku: "A-17", count: 2 }], note: "</script><script>window.pwned=1</script>" });

export const LARGE = "<b onmouseover=window.pwned=1>".padEnd(200 * 1024, "0123456789 ");

export const BINARY = Buffer.concat([Buffer.from([0, 255, 254]), Buffer.from("<img>"), Buffer.alloc(6000, 7)]);
