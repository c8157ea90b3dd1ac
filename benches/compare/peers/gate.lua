-- What a careful user would write into nginx: HMAC-SHA256 of the raw body (OpenSSL through ffi), a rate
-- limit with its headers, and dedupe by delivery id, in a shared dict ("memory") or Redis ("redis").
-- The id is marked before the event is forwarded and stays marked if that fails.
local ffi = require "ffi"
ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *md, const void *key, int klen, const unsigned char *d, size_t n,
                    unsigned char *out, unsigned int *len);
int CRYPTO_memcmp(const void *a, const void *b, size_t n);
unsigned char *ngx_hex_dump(unsigned char *dst, const unsigned char *src, size_t len);
]]
local C, M = ffi.C, {}
local mac, hex, len = ffi.new("unsigned char[32]"), ffi.new("unsigned char[64]"), ffi.new("unsigned int[1]")
local LIMIT, WINDOW, REMEMBER = 1000000000, 60, 604800
local secret, mode, redis_port, digest, redis

function M.setup(secret_, mode_, redis_port_)
  secret, mode, redis_port = secret_, mode_, redis_port_
  digest = C.EVP_sha256()
  if mode == "redis" then redis = require "nginx.redis" end
end

local function is_new(id)
  if mode == "memory" then return ngx.shared.seen:add(id, true, REMEMBER) end
  local r = redis:new()
  r:set_timeout(2000)
  local ok, err = r:connect("127.0.0.1", redis_port)
  if not ok then ngx.log(ngx.ERR, err) return ngx.exit(503) end
  local res
  res, err = r:set("d:" .. id, 1, "NX", "EX", REMEMBER)
  if not res then ngx.log(ngx.ERR, err) return ngx.exit(503) end
  r:set_keepalive(60000, 128)
  return res == "OK"
end

function M.check()
  ngx.req.read_body()
  local body, sig = ngx.req.get_body_data() or "", ngx.var.http_x_walletwerk_signature
  if not sig or #sig ~= 64 then return ngx.exit(401) end
  C.HMAC(digest, secret, #secret, body, #body, mac, len)
  C.ngx_hex_dump(hex, mac, 32)
  if C.CRYPTO_memcmp(hex, sig, 64) ~= 0 then return ngx.exit(401) end
  local now = ngx.time()
  local used = ngx.shared.limits:incr(ngx.var.uri .. (now - now % WINDOW), 1, 0, WINDOW * 2)
  ngx.header["X-RateLimit-Limit"] = LIMIT
  ngx.header["X-RateLimit-Remaining"] = math.max(LIMIT - used, 0)
  ngx.header["X-RateLimit-Reset"] = WINDOW - now % WINDOW
  if used > LIMIT then return ngx.exit(429) end
  local id = ngx.var.http_x_walletwerk_delivery_id
  if not id then return ngx.exit(400) end
  if not is_new(id) then
    ngx.status = 200
    ngx.header["Content-Length"] = 10
    ngx.say("duplicate")
    return ngx.exit(200)
  end
end

return M
