-- Whether a row, or that there is none, may stand for a cart that is missing here (carts.protocol.row_counts).
-- `absence` says when it was missed (us), how far the rows were, how long a miss counts (us), the restoration.
local function row_counts(marker, absence, now)
  local missed_at, position, within, restoration = string.match(absence, '^(%d+) (%d+) (%d+) (%S+)$')
  local current, rows_position = string.match(marker, '^(%S+) (%d+)')
  return restoration ~= nil and restoration == current and tonumber(position) >= tonumber(rows_position)
    and now - missed_at <= tonumber(within)
end
