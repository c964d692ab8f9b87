-- What Quarto is told about programs: links that only the web can follow, marked lines, equations cited in code.

local printed = FORMAT == "typst" or FORMAT == "latex"
local BAR, NONE = "▌ ", "  "

-- A link to a listing that print does not have: its text stays.
function Link(link)
  if printed and link.classes:includes("web") then
    return link.content
  end
end

-- `# @eq-27-rotation` in program text becomes `# eq. 27.4`, as in the program; the woven book has done so already.
local numbers = {}

local function chapter_of(label)
  local name = label:match("^eq%-(%w+)%-") or ""
  return tonumber(name) and tostring(tonumber(name)) or name:upper()
end

local function count(document)
  local counts = {}
  document:walk({ Str = function(text)
    local label = text.text:match("^{#(eq%-[%w-]+)}")
    if label and not numbers[label] then
      local chapter = chapter_of(label)
      counts[chapter] = (counts[chapter] or 0) + 1
      numbers[label] = chapter .. "." .. counts[chapter]
    end
  end })
end

local function cited(text)
  return (text:gsub("@(eq%-%w+%-[%w-]+)", function(label)
    if numbers[label] then return "eq. " .. numbers[label] end
    return "eq. " .. label:gsub("^eq%-%w+%-", ""):gsub("%-", " ") .. " of chapter " .. chapter_of(label)
  end))
end

local function marked(text, lines)
  local out, number, marks = {}, 0, {}
  for mark in lines:gmatch("%d+") do marks[tonumber(mark)] = true end
  for line in (text .. "\n"):gmatch("(.-)\n") do
    number = number + 1
    table.insert(out, (marks[number] and BAR or NONE) .. line)
  end
  return table.concat(out, "\n")
end

local function program(block)
  if block.text:find("@eq-", 1, true) then block.text = cited(block.text) end
  local lines = block.attributes["marked"]
  if lines and printed then block.text = marked(block.text, lines) end
  return block
end

return {
  { Pandoc = function(document) count(document) end },
  { Link = Link, CodeBlock = program },
}
